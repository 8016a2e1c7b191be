"""Distances, kernels and principal components beside scikit-learn, numpy and plain JAX: `python -m benchmarks.linalg`.

    rbf per key    50 x 64 against 50 x 64, 100 keys: a loop over the keys, or all of them behind one call
    distances      euclidean, of all pairs
    near           the same, of vectors many of which are nearly the same
    manhattan      of all pairs
    pca            10 components, and the vectors in them
    pca, distances the distances of the vectors in 16 components

Whoever takes part does one job after the other, in turns, in one process: a round is once each. Times are medians; ratios are
theirs over ours, round by round, so what else the machine does hits all alike. Errors are the largest ones of what is worked, by
its own size, against float64 by differences; for principal components, of the variances by the first.

`OPENBLAS_CORETYPE` is not passed on: it makes numpy slower than it is where people use it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
import numpy as np

from benchmarks.tables import ratio, shown, spread, table

__all__ = ["main"]

Call = Callable[[], Any]
OURS: Final = "motet"
COMPONENTS: Final = 10


@dataclass(frozen=True)
class Job:
    """What is worked.

    Attributes:
        name: of the job.
        calls: who works it, by name.
        right: what is right, float64.
        size: what an error is a part of; None for each value itself.
    """

    name: str
    calls: Mapping[str, Call]
    right: Any
    size: Any = None

    def error(self, found: Any) -> float:
        """The largest one, as a part of what is right."""
        away = np.abs(np.asarray(found, np.float64) - self.right)
        size = np.abs(self.right) if self.size is None else self.size
        return float((away[self.right != 0] / np.broadcast_to(size, away.shape)[self.right != 0]).max())


def _exact(x: Any, y: Any) -> Any:
    x, y = x.astype(np.float64), y.astype(np.float64)
    found = np.empty((len(x), len(y)))
    for start in range(0, len(x), 16):
        away = x[start : start + 16, None] - y
        found[start : start + 16] = np.sqrt(np.vecdot(away, away))
    return found


def _numpy_distances(x: Any, y: Any) -> Any:
    squared = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1) - 2 * (x @ y.T)
    return np.sqrt(np.maximum(squared, 0))


def _rbf(random: np.random.Generator) -> Job:
    import jax
    from sklearn.metrics.pairwise import rbf_kernel

    import motet as mt

    x, y = (random.standard_normal((100, 50, 64), np.float32) for _ in range(2))
    gamma = np.float32(1 / 64)

    def kernel(a: Any, b: Any) -> Any:
        squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
        return jax.numpy.exp(-gamma * jax.numpy.maximum(squared, 0))

    one, many = jax.jit(kernel), jax.jit(jax.vmap(kernel))
    lists = list(x), list(y)
    calls = {
        OURS: lambda: mt.ops.linalg.pairwise_kernels(x, y),
        "motet, lists": lambda: mt.ops.linalg.pairwise_kernels(*lists),
        "scikit-learn, loop": lambda: [rbf_kernel(a, b) for a, b in zip(x, y, strict=True)],
        "numpy, loop": lambda: [np.exp(-gamma * _numpy_distances(a, b) ** 2) for a, b in zip(x, y, strict=True)],
        "JAX, loop": lambda: [np.asarray(one(a, b)) for a, b in zip(x, y, strict=True)],
        "JAX, vmap": lambda: np.asarray(many(x, y)),
    }
    return Job("rbf per key", calls, np.exp(-(np.stack([_exact(a, b) for a, b in zip(x, y, strict=True)]) ** 2) / 64))


def _distances(name: str, x: Any, y: Any) -> Job:
    import jax
    from sklearn.metrics.pairwise import euclidean_distances

    import motet as mt

    def distances(a: Any, b: Any) -> Any:
        squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
        return jax.numpy.sqrt(jax.numpy.maximum(squared, 0))

    compiled = jax.jit(distances)
    calls = {
        OURS: lambda: mt.ops.linalg.pairwise_distances([x], [y])[0],
        "scikit-learn": lambda: euclidean_distances(x, y),
        "numpy": lambda: _numpy_distances(x, y),
        "JAX": lambda: np.asarray(compiled(x, y)),
    }
    return Job(name, calls, _exact(x, y))


def _manhattan(x: Any, y: Any) -> Job:
    import jax
    from sklearn.metrics.pairwise import manhattan_distances

    import motet as mt

    compiled = jax.jit(lambda a, b: jax.numpy.abs(a[:, None] - b[None]).sum(axis=-1))
    calls = {
        OURS: lambda: mt.ops.linalg.pairwise_distances([x], [y], metric="manhattan")[0],
        "scikit-learn": lambda: manhattan_distances(x, y),
        "JAX": lambda: np.asarray(compiled(x, y)),
    }
    return Job("manhattan, 1024 x 1024 x 64", calls, manhattan_distances(x.astype(np.float64), y.astype(np.float64)))


def _sklearn_pca(x: Any, components: int, solver: str) -> Any:
    from sklearn.decomposition import PCA

    fitted = PCA(components, svd_solver=solver, random_state=0)
    return fitted.fit_transform(x), fitted.explained_variance_


def _jax_pca(components: int) -> Callable[[Any], Any]:
    import jax

    def work(x: Any) -> Any:
        centred = x - x.mean(axis=0)
        values, vectors = jax.numpy.linalg.eigh(centred.T @ centred / (len(x) - 1))
        return centred @ vectors[:, : -components - 1 : -1], values[: -components - 1 : -1]

    return jax.jit(work)


SOLVERS: Final = {
    "scikit-learn, full": "full",
    "scikit-learn, auto": "auto",
    "scikit-learn, covariance": "covariance_eigh",
}


def _pca(x: Any) -> Job:
    import motet as mt

    compiled = _jax_pca(COMPONENTS)
    variances = _sklearn_pca(x.astype(np.float64), COMPONENTS, "full")[1]

    def ours() -> Any:
        return mt.ops.linalg.pca([x], components=COMPONENTS).variances[0]

    calls: dict[str, Call] = {OURS: ours}
    calls |= {name: lambda solver=solver: _sklearn_pca(x, COMPONENTS, solver)[1] for name, solver in SOLVERS.items()}  # type: ignore[misc]
    calls["JAX"] = lambda: [np.asarray(each) for each in compiled(x)][1]
    return Job(f"pca, {' x '.join(map(str, x.shape))}", calls, variances, variances[0])


def _pca_distances(x: Any) -> Job:
    import jax
    from sklearn.metrics.pairwise import euclidean_distances

    import motet as mt

    components = 16
    reduce = _jax_pca(components)

    def both(vectors: Any) -> Any:
        a = reduce(vectors)[0]
        lengths = (a * a).sum(axis=1)
        return jax.numpy.sqrt(jax.numpy.maximum(lengths[:, None] + lengths - 2 * (a @ a.T), 0))

    compiled = jax.jit(both)
    calls: dict[str, Call] = {
        OURS: lambda: mt.ops.linalg.pairwise_distances(mt.ops.linalg.pca([x], components=components).transformed)[0]
    }
    calls |= {
        name: lambda solver=solver: euclidean_distances(_sklearn_pca(x, components, solver)[0])  # type: ignore[misc]
        for name, solver in SOLVERS.items()
    }
    calls["JAX"] = lambda: np.asarray(compiled(x))
    reduced = _sklearn_pca(x.astype(np.float64), components, "full")[0]
    right = _exact(reduced, reduced)
    return Job(f"pca, distances, {' x '.join(map(str, x.shape))}", calls, right, right.max())


def _vectors(random: np.random.Generator, n: int, d: int) -> Any:
    return random.standard_normal((n, d), np.float32)


def _near(random: np.random.Generator, n: int, d: int) -> Any:
    """Every vector four times, a little apart."""
    vectors = np.repeat(_vectors(random, n // 4, d), 4, axis=0)
    return vectors + np.float32(1e-4) * _vectors(random, n, d)


def jobs(random: np.random.Generator) -> list[Callable[[], Job]]:
    """The jobs, each made when its turn comes."""
    found: list[Callable[[], Job]] = [lambda: _rbf(random)]
    for n, d in ((50, 64), (300, 64), (1024, 64), (1000, 64), (2048, 384)):
        found.append(
            lambda n=n, d=d: _distances(f"distances, {n} x {n} x {d}", _vectors(random, n, d), _vectors(random, n, d))  # type: ignore[misc]
        )
    near = _near(random, 512, 64)
    found += [
        lambda: _distances("near, 512 x 512 x 64", near, near.copy()),
        lambda: _manhattan(_vectors(random, 1024, 64), _vectors(random, 1024, 64)),
        lambda: _pca(_vectors(random, 5000, 64) * np.linspace(3, 0.5, 64, dtype=np.float32)),
        lambda: _pca(_vectors(random, 2000, 256) * np.linspace(3, 0.5, 256, dtype=np.float32)),
        lambda: _pca_distances(_vectors(random, 2000, 256) * np.linspace(3, 0.5, 256, dtype=np.float32)),
    ]
    return found


def _rounds(job: Job, rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {who: [] for who in job.calls}
    for call in job.calls.values():
        call()
    for _ in range(rounds):
        for who, call in job.calls.items():
            started = time.perf_counter()
            call()
            seconds[who].append(time.perf_counter() - started)
    return seconds


def _print(job: Job, seconds: Mapping[str, list[float]]) -> None:
    rows = [
        [
            who,
            shown(spread([1e3 * each for each in found]), ".3f"),
            shown(ratio([*seconds[OURS]], [*found]), ".2f"),
            f"{job.error(job.calls[who]()):.1e}",
        ]
        for who, found in seconds.items()
    ]
    print(table([job.name, "ms", "time / motet's", "error"], rows), end="\n\n", flush=True)


def _again_without(name: str) -> None:
    """Begin this program again without a variable that libraries read when they are loaded."""
    if os.environ.pop(name, None) is not None:
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.linalg", *sys.argv[1:]])


@click.command()
@click.option("--rounds", default=31, show_default=True, help="How often each works each job.")
@click.option("--only", default="", help="Jobs whose name has this in it.")
@click.option("--json", "written", type=click.Path(path_type=Path), help="Every figure of every round.")
def main(rounds: int, only: str, written: Path | None) -> None:
    """Compare, and print a table a job."""
    _again_without("OPENBLAS_CORETYPE")
    figures: dict[str, Any] = {}
    for make in jobs(np.random.default_rng(0)):
        job = make()
        if only in job.name:
            seconds = _rounds(job, rounds)
            _print(job, seconds)
            figures[job.name] = {who: {"median_s": median(each), "seconds": each} for who, each in seconds.items()}
    if written is not None:
        written.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
