"""Images are decoded where a graph wants pixels; one that cannot be is one bad row."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from motet.batch import Ragged
from motet.errors import MissingExtraError, TypeMismatchError
from motet.io import is_image, open_source, split_faults, to_column
from motet.io.arrow import check_fits
from motet.types import ColumnType

RED = np.full((4, 6, 3), (255, 0, 0), np.uint8)


def kind(text: str) -> ColumnType:
    return ColumnType.parse(text)


def encode(pixels: np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format, **options)
    return out.getvalue()


def decode(rows: list, wanted: str) -> tuple:
    return to_column(pa.array(rows, pa.binary()), kind(wanted), image=True)


@pytest.mark.parametrize("format", ["PNG", "BMP", "WEBP", "GIF"])
def test_formats_decode_to_rgb(format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    column, bad = decode([encode(RED, format, **options)], "uint8[4,6,3]")
    assert bad == {}
    np.testing.assert_array_equal(column[0], RED)


def test_two_axes_are_grey() -> None:
    column, bad = decode([encode(RED), encode(RED[:, :, 0])], "uint8[4,6]")
    assert bad == {}
    assert column[:, 0, 0].tolist() == [76, 255]
    assert decode([encode(RED)], "uint8[4,6,1]")[0].shape == (1, 4, 6, 1)


def test_sizes_may_vary() -> None:
    column, bad = decode([encode(RED), None, encode(RED[:2])], "uint8[?,?,3]")
    assert isinstance(column, Ragged)
    assert bad == {1: "is null"}
    assert column.shapes.tolist() == [[4, 6, 3], [2, 6, 3]]


def test_what_cannot_be_decoded_is_one_bad_row() -> None:
    whole = encode(np.random.default_rng(0).integers(0, 255, (4, 6, 3)).astype(np.uint8))
    column, bad = decode([encode(RED), b"not an image", whole[:60], b""], "uint8[4,6,3]")
    np.testing.assert_array_equal(column, [RED])
    assert bad[1] == "is no image that can be read: 12 bytes that begin with b'not an i'"
    assert bad[2].startswith("is a damaged image: ")
    assert bad[3] == "is no image that can be read: 0 bytes that begin with b''"


def test_images_of_other_sizes_are_resized_to_the_size_of_the_type() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 10, 3)).astype(np.uint8)
    column, bad = decode([encode(RED), encode(pixels)], "uint8[4,6,3]")
    assert bad == {}
    wanted = Image.fromarray(pixels).resize((6, 4), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(column, [RED, np.asarray(wanted)])


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    column, bad = decode([encode(RED, "JPEG", exif=exif)], "uint8[6,4,3]")
    assert bad == {}
    assert column.shape == (1, 6, 4, 3)


def test_an_image_of_too_many_pixels_is_one_bad_row() -> None:
    out = io.BytesIO()
    Image.new("1", (8200, 8200)).save(out, "PNG")  # 8 KB, 200 MB of pixels
    column, bad = decode([encode(RED), out.getvalue()], "uint8[?,?,3]")
    assert len(column) == 1
    assert bad == {1: "is too large an image: 8200 x 8200 pixels, 67108864 are read"}


def test_encoded_bytes_stay_bytes_where_bytes_are_wanted() -> None:
    data = encode(RED)
    assert decode([data], "bytes")[0].tolist() == [data]


@pytest.mark.parametrize("wanted", ["float32[4,6,3]", "uint8[3,4,6]", "uint8[24]"])
def test_a_type_that_no_image_decodes_to_is_refused(wanted: str) -> None:
    with pytest.raises(TypeMismatchError) as caught:
        check_fits(pa.binary(), kind(wanted), "image", image=True)
    assert str(caught.value).startswith(f"column 'image': holds encoded images, the graph wants {wanted}")


def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError) as caught:
        decode([encode_nothing], "uint8[4,6,3]")
    assert str(caught.value) == (
        "decoding images needs pillow, which is not installed\n  hint: pip install 'motet[image]'"
    )


encode_nothing = b"x"


def test_a_folder_of_images_is_a_row_a_file(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    for name in ("b.png", "cats/a.png", ".hidden.png", "c.PNG"):
        (tmp_path / name).write_bytes(encode(RED))
    (tmp_path / "labels.txt").write_text("not an image")
    source = open_source(tmp_path)
    assert source.num_rows == 3
    assert is_image(source.schema.field("image"))
    batches = list(source.batches(2))
    assert [len(batch) for batch in batches] == [2, 1]
    assert batches[0]["path"].to_pylist() == [str(tmp_path / "b.png"), str(tmp_path / "c.PNG")]
    assert is_image(batches[0].schema.field("image"))
    column, bad = to_column(batches[0]["image"], kind("uint8[4,6,3]"), image=True)
    assert (column.shape, bad) == ((2, 4, 6, 3), {})


def test_a_file_that_is_gone_is_one_bad_row(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(encode(RED))
    source = open_source([tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"])
    (tmp_path / "b.png").unlink()
    (batch,) = source.batches(10, ["image"])
    rows, faults = split_faults(batch)
    assert list(faults) == [1]
    assert faults[1].startswith(f"{tmp_path / 'b.png'} cannot be read: ")
    assert [value is None for value in rows["image"].to_pylist()] == [False, True, False]
    assert len(next(source.batches(10, ["path"], skip=1))) == 2
