"""Data sets of Hugging Face as inputs of calls and runs: their rows, in their order, with pictures decoded."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import motet as mt
from helpers.lakes import negating
from motet.errors import InputError
from motet.io import open_source

datasets = pytest.importorskip("datasets")


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Any:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def numbers() -> Any:
    return datasets.Dataset.from_dict({"x": [1.0, 2.0, 3.0, 4.0, 5.0], "name": list("abcde")})


def test_rows_come_in_the_order_of_the_data_set() -> None:
    dataset = numbers().select([4, 0, 2])
    answers = negating().run(dataset, batch_rows=2)
    assert answers.to_pydict() == {"x": [5.0, 1.0, 3.0], "name": ["e", "a", "c"], "y": [-5.0, -1.0, -3.0]}
    assert negating()(dataset)["y"].tolist() == [-5.0, -1.0, -3.0]
    again = datasets.Dataset(answers)
    assert again.select([1])[0] == {"x": 1.0, "name": "a", "y": -1.0}
    source: Any = open_source(dataset)
    assert (source.num_rows, source.description) == (3, "a Dataset")
    assert [row["x"] for batch in source.batches(2, skip=1) for row in batch.to_pylist()] == [1.0, 3.0]
    assert (
        source.fingerprint()
        == open_source(numbers().select([4, 0, 2])).fingerprint()
        != open_source(numbers()).fingerprint()
    )


def test_streamed_data_sets_are_read() -> None:
    streamed = numbers().to_iterable_dataset(num_shards=2)
    assert negating().run(streamed)["y"].to_pylist() == [-1.0, -2.0, -3.0, -4.0, -5.0]
    assert open_source(streamed).reads_again


def test_a_folder_is_read_as_it_was_saved(tmp_path: Path) -> None:
    numbers().select([3, 1, 2]).save_to_disk(tmp_path / "saved", num_shards=2)
    report = negating().run(str(tmp_path / "saved"), str(tmp_path / "out.parquet"))
    assert (report.answered, report.files_left_out) == (3, "")
    assert datasets.Dataset.from_parquet(f"{tmp_path}/out.parquet", cache_dir=f"{tmp_path}/cache")["y"][:] == [
        -4.0,
        -2.0,
        -3.0,
    ]
    source: Any = open_source(f"{tmp_path}/saved/")
    assert [split.rows for split in source.splits(1)] == [3]  # streams of Arrow are not entered
    first = sorted((tmp_path / "saved").glob("*.arrow"))[0]
    first.unlink()
    with pytest.raises(InputError, match=f"{first.name} is not there, which state.json names"):
        open_source(str(tmp_path / "saved"))


def test_of_several_one_is_named(tmp_path: Path) -> None:
    both = datasets.DatasetDict(train=numbers(), test=numbers().select([0]))
    with pytest.raises(InputError, match="a DatasetDict: holds several: train, test"):
        negating().run(both)
    both.save_to_disk(tmp_path / "both")
    with pytest.raises(InputError, match="is a DatasetDict of test, train"):
        negating().run(str(tmp_path / "both"))
    assert negating().run(str(tmp_path / "both" / "test")).num_rows == 1


def test_pictures_and_arrays_are_inputs(tmp_path: Path) -> None:
    from PIL import Image

    def png(level: int) -> bytes:
        out = io.BytesIO()
        Image.fromarray(np.full((4, 6, 3), level, np.uint8)).save(out, "png")
        return out.getvalue()

    features = datasets.Features(
        {
            "image": datasets.Image(),
            "grid": datasets.Array2D((2, 3), "float32"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    rows = {
        "image": [{"bytes": png(7)}, {"bytes": png(9)}],
        "grid": [np.ones((2, 3)), np.zeros((2, 3))],
        "label": [1, 0],
    }
    dataset = datasets.Dataset.from_dict(rows, features=features)
    dataset.save_to_disk(tmp_path / "saved")
    seen = mt.map(level, mt.input("image", "uint8[4,6,3]"), mt.input("grid", "float32[2,3]"))
    graph = mt.Graph("g", {"seen": seen})
    for source in (dataset, str(tmp_path / "saved")):
        answers = graph.run(source, keep=["label"])
        assert answers.to_pydict() == {"label": [1, 0], "seen": [13.0, 9.0]}
    sounds = datasets.Dataset(pa.table({"audio": pa.array([{"bytes": b"RIFF", "path": "a.wav"}])}))
    sized = mt.Graph("s", {"n": mt.map(length, mt.input("audio", "bytes"))})
    assert sized.run(sounds)["n"].to_pylist() == [4]


@mt.returns("float64")
def level(image: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The level of a picture, and the sum of its grid."""
    return image.reshape(len(image), -1).mean(axis=1) + grid.sum(axis=(1, 2))


@mt.returns("int64")
def length(audio: Any) -> np.ndarray:
    return np.array([len(each) for each in audio], np.int64)
