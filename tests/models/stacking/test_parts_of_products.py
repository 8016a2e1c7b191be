"""Products of many rows of one model are made in parts, and are those of the whole."""

import numpy as np
import pytest

from motet.models.stacking.operators import ONE_THREAD_MULTIPLICATIONS, Groups, _product


@pytest.mark.parametrize("shape", [(32, 64), (600, 500), (40, 1)])
def test_products_of_many_rows(shape):
    random = np.random.default_rng(0)
    models, counts = np.array([2, 0]), np.array([5, ONE_THREAD_MULTIPLICATIONS // max(1, np.prod(shape)) + 100])
    x = random.normal(size=(counts.sum(), shape[0]))
    weights = random.normal(size=(3, *shape))
    found = _product(x, weights, Groups(models, counts))
    wanted = np.concatenate([x[:5] @ weights[2], x[5:] @ weights[0]])
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
