import io
import struct
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from motet.batch import Ragged, objects
from motet.errors import InputError, MissingExtraError, RunError
from motet.ops import image
from motet.types import ColumnType, declared_outputs

rng = np.random.default_rng(3)
PICTURE = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)


def file(picture: Any, kind: str = "PNG", **options: Any) -> Any:
    data = io.BytesIO()
    picture.save(data, format=kind, **options)
    return data.getvalue()


def declared(function: Any, *kinds: Any, **keywords: Any) -> Any:
    return str(declared_outputs(function, tuple(ColumnType.parse(kind) for kind in kinds), keywords))


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3)), st.sampled_from([255, 255.0, 127.5, 3]))
def test_scale_is_the_division_in_float32(pixels: Any, by: Any) -> None:
    found = image.scale(pixels, by=by)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, pixels.astype(np.float32) / np.float32(by))


def test_scale_takes_images_of_different_sizes() -> None:
    found = image.scale([np.full((1, 2), 255, np.uint8), np.zeros((3, 1), np.uint8)])
    assert [row.tolist() for row in found] == [[[1, 1]], [[0], [0], [0]]]
    assert declared(image.scale, "uint8[?,?,3]", by=255) == "float32[?,?,3]"


def test_scale_does_not_divide_by_0() -> None:
    with pytest.raises(ValueError, match="scale cannot divide by 0"):
        declared(image.scale, "uint8[2]", by=0)
    with pytest.raises(InputError, match="cannot be divided by 0"):
        image.scale(np.ones((1, 1)), by=0)
    with pytest.raises(ValueError, match="scale takes numbers, got string"):
        declared(image.scale, "string")


def test_a_png_is_read_as_it_was_written() -> None:
    for picture in (PICTURE, PICTURE[..., 0]):
        files = image.encode(picture[None])
        mode = "rgb" if picture.ndim == 3 else "grey"
        np.testing.assert_array_equal(image.decode(files, mode=mode)[0], picture)


def test_a_jpeg_is_about_what_was_written() -> None:
    smooth = np.broadcast_to(np.arange(0, 64, 2, dtype=np.uint8)[:, None, None], (32, 32, 3))
    found = image.decode(image.encode(smooth[None], format="jpeg", quality=95))[0]
    assert np.abs(found.astype(int) - smooth).max() <= 6


def test_images_keep_their_own_size_unless_one_is_given() -> None:
    files = objects([file(Image.new("RGB", (8, 6))), file(Image.new("RGB", (3, 5)))])
    assert [row.shape for row in image.decode(files)] == [(6, 8, 3), (5, 3, 3)]
    assert image.decode(files, size=[4, 2], mode="grey").shape == (2, 4, 2)
    assert declared(image.decode, "bytes") == "uint8[?,?,3]"
    assert declared(image.decode, "bytes", mode="grey", size=[4, 2]) == "uint8[4,2]"


def test_images_are_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = file(Image.fromarray(np.rot90(PICTURE)), exif=exif)
    np.testing.assert_array_equal(image.decode(objects([turned]))[0], PICTURE)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_every_mode_becomes_rgb_or_grey(mode: str) -> None:
    picture = Image.fromarray(PICTURE).convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    data = objects([file(picture, kind)])
    np.testing.assert_array_equal(image.decode(data)[0], np.asarray(picture.convert("RGB")))
    np.testing.assert_array_equal(image.decode(data, mode="grey")[0], np.asarray(picture.convert("L")))


def test_sixteen_bits_become_the_upper_eight() -> None:
    deep = Image.fromarray(np.array([[0, 255, 256, 65535]], dtype=np.uint16))
    assert image.decode(objects([file(deep)]), mode="grey")[0].tolist() == [[0, 0, 1, 255]]
    assert image.decode(objects([file(deep)]))[0].shape == (1, 4, 3)


@pytest.mark.parametrize("data", [b"", b"no image", file(Image.fromarray(PICTURE))[:60], b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_bytes_that_are_no_image_are_refused(data: Any) -> None:
    with pytest.raises(
        InputError, match=r"data is (no image that can be read: .* bytes that begin with|a damaged image: )"
    ) as caught:
        image.decode(objects([data]))
    assert " object at 0x" not in str(caught.value)


def test_what_is_not_bytes_is_refused() -> None:
    with pytest.raises(InputError, match="data is no encoded image: that is bytes, got NoneType"):
        image.decode(objects([None]))


def test_an_image_with_too_many_pixels_is_refused_before_it_is_read() -> None:
    with pytest.raises(InputError, match="data is too large an image: 8 x 6 pixels, 47 are read"):
        image.decode(objects([file(Image.fromarray(PICTURE))]), max_pixels=47)


def _head_of(width: Any, height: Any) -> Any:
    """The beginning of a PNG, which says its size."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + head
        + struct.pack(">I", zlib.crc32(head))
        + struct.pack(">I", 99)
        + b"IDAT"
    )


@pytest.mark.parametrize("side", [8193, 10_000, 14_000, 30_000, 2**20])
def test_there_is_one_limit_and_one_message(side: Any, recwarn: pytest.WarningsRecorder) -> None:
    """Also where Pillow would warn (89 million pixels) or refuse (179 million) by a limit of its own."""
    message = f"data is too large an image: {side} x {side} pixels, {2**26} are read"
    with pytest.raises(InputError, match=message):
        image.decode(objects([_head_of(side, side)]))
    assert not list(recwarn)


def test_a_larger_limit_is_not_overruled_by_pillow(recwarn: pytest.WarningsRecorder) -> None:
    large = objects([file(Image.new("1", (9500, 9500)))])
    assert image.decode(large, mode="grey", size=(1, 1), max_pixels=9500**2).tolist() == [[[0]]]
    assert not list(recwarn)


def test_the_limit_is_set_by_the_environment_and_overruled_by_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    data = objects([file(Image.fromarray(PICTURE))])
    monkeypatch.setenv("MOTET_MAX_PIXELS", "47")
    with pytest.raises(
        InputError, match=r"8 x 6 pixels, 47 are read\n  hint: set the environment variable MOTET_MAX_PIXELS"
    ):
        image.decode(data)
    assert len(image.decode(data, max_pixels=48)) == 1
    monkeypatch.setenv("MOTET_MAX_PIXELS", "48")
    assert len(image.decode(data)) == 1
    for wrong in ("0", "-1", "many", "1e9"):
        monkeypatch.setenv("MOTET_MAX_PIXELS", wrong)
        with pytest.raises(
            RunError, match=f"environment variable MOTET_MAX_PIXELS: must be a whole number of pixels; got '{wrong}'"
        ):
            image.decode(data)


def test_pillow_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match=r"decoding images needs pillow(?s:.*)pip install 'motet\[image\]'"):
        image.decode(objects([b""]))


@pytest.mark.parametrize(
    ("method", "filter"), [("bilinear", "BILINEAR"), ("bicubic", "BICUBIC"), ("nearest", "NEAREST"), ("area", "BOX")]
)
def test_resize_is_pillows(method: str, filter: str) -> None:
    found = image.resize(PICTURE[None], size=(3, 5), method=method)[0]
    np.testing.assert_array_equal(found, np.asarray(Image.fromarray(PICTURE).resize((5, 3), Image.Resampling[filter])))
    channels = image.resize(PICTURE[None].astype(np.float32), size=(3, 5), method=method)[0]
    assert np.abs(channels - found).max() <= 1


def test_area_is_the_mean_of_what_is_covered() -> None:
    grey = rng.random((1, 8, 6), dtype=np.float32)
    np.testing.assert_allclose(
        image.resize(grey, size=(4, 3), method="area"), grey.reshape(1, 4, 2, 3, 2).mean(axis=(2, 4)), rtol=1e-6
    )


def test_cover_cuts_the_middle_out() -> None:
    wide = np.zeros((1, 4, 12), dtype=np.float32)
    wide[:, :, 4:8] = 1
    assert image.resize(wide, size=(4, 4), fit="cover").tolist() == np.ones((1, 4, 4)).tolist()


@given(st.tuples(*[st.integers(1, 30)] * 4))
def test_cover_and_contain_give_the_size(sides: Any) -> None:
    height, width, *size = sides
    ones = np.ones((1, height, width, 3), dtype=np.uint8)
    assert (image.resize(ones, size=size, fit="cover") == 1).all()
    framed = image.resize(ones, size=size, fit="contain", pad=9)
    assert framed.shape == (1, *size, 3)
    assert set(np.unique(framed)) <= {1, 9}
    rows, columns = ((framed[0, ..., 0] == 1).any(axis=axis).sum() for axis in (1, 0))
    assert rows == size[0] or columns == size[1]


def test_one_and_four_channels_are_resized_alone() -> None:
    alone = image.resize(PICTURE[None, ..., :1], size=(3, 3))[..., 0]
    np.testing.assert_array_equal(alone, image.resize(PICTURE[None, ..., 0], size=(3, 3)))
    assert image.resize(np.zeros((2, 4, 4, 4), np.uint8), size=(3, 3)).shape == (2, 3, 3, 4)


@pytest.mark.parametrize(
    ("kind", "keywords", "said"),
    [
        ("uint8[28,28]", {"size": 14}, "size is a height and a width in pixels"),
        ("uint8[28,28]", {"size": [0, 4]}, "size is a height and a width in pixels"),
        ("uint8[28,28]", {"size": [4, 4], "method": "lanczos"}, "no method 'lanczos'; known: bilinear, bicubic"),
        ("uint8[28,28]", {"size": [4, 4], "fit": "crop"}, "no fit 'crop'; known: stretch, cover, contain"),
        ("uint8[28,28]", {"size": [4, 4], "pad": 300}, "pad must fit uint8"),
        ("int64[28,28]", {"size": [4, 4]}, r"images of float32 or uint8, \[h,w\] or \[h,w,c\], got int64"),
        ("uint8[3,28,28]", {"size": [4, 4]}, "channels last, 1 to 4 of them"),
    ],
)
def test_resize_refuses_when_the_graph_is_built(kind: str, keywords: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        declared(image.resize, kind, **keywords)


def test_resize_refuses_an_image_without_pixels() -> None:
    with pytest.raises(InputError, match=r"an image of shape \[0, 4\] has no pixels"):
        image.resize(np.empty((1, 0, 4), np.uint8), size=(2, 2))


def test_center_crop_needs_images_as_large() -> None:
    with pytest.raises(ValueError, match=r"center_crop to \[9, 9\] needs images of at least that size"):
        declared(image.center_crop, "uint8[8,9,3]", size=[9, 9])
    with pytest.raises(InputError, match=r"an image of 2 x 9 is smaller than 3 x 3\n.*fit='cover'"):
        image.center_crop([np.ones((9, 9)), np.ones((2, 9))], size=(3, 3))


def test_crop_rounds_outward_and_clips() -> None:
    grey = np.arange(20).reshape(1, 4, 5)
    assert image.crop(grey, np.array([[0.5, 1.2, 1.5, 2.1]]))[0].tolist() == [[5, 6], [10, 11]]
    np.testing.assert_array_equal(image.crop(grey, np.array([[-5, -5, 99, 99]]))[0], grey[0])
    for box in ([2, 2, 2, 3], [9, 0, 12, 3], [3, 0, 1, 4]):
        with pytest.raises(InputError, match=r"has no pixel of an image of 4 x 5\n.*left, top, right, bottom"):
            image.crop(grey, np.array([box]))
    with pytest.raises(InputError, match="is not finite"):
        image.crop(grey, np.array([[0, 0, np.nan, 1]]))
    with pytest.raises(ValueError, match=r"crop takes a box of 4 numbers .* got float32\[3\]"):
        declared(image.crop, "uint8[4,5]", "float32[3]")


@given(hnp.arrays(np.uint8, st.tuples(st.just(2), st.integers(1, 5), st.integers(1, 5), st.just(3))))
def test_grey_is_pillows(pixels: Any) -> None:
    wanted = [np.asarray(Image.fromarray(row).convert("L")) for row in pixels]
    np.testing.assert_array_equal(image.to_grey(pixels), wanted)
    np.testing.assert_allclose(image.to_grey(pixels.astype(np.float32)), wanted, atol=0.51)  # type: ignore[arg-type]


def test_colours_and_axes() -> None:
    assert image.to_grey(PICTURE[None, ..., :1]).shape == (1, 6, 8)
    assert image.to_rgb(PICTURE[None, ..., 0]).shape == (1, 6, 8, 3)
    np.testing.assert_array_equal(image.to_hwc(image.to_chw(PICTURE[None])), PICTURE[None])
    assert image.to_chw(PICTURE[None]).flags.c_contiguous
    assert declared(image.to_chw, "uint8[28,28]") == "uint8[1,28,28]"
    assert declared(image.to_chw, "uint8[?,?,3]") == "uint8[3,?,?]"
    assert declared(image.to_hwc, "float32[3,4,5]") == "float32[4,5,3]"
    with pytest.raises(ValueError, match=r"to_grey takes \[h,w\] or 1 or 3 channels on the last axis"):
        declared(image.to_grey, "uint8[3,28,28]")


def test_normalise_is_by_channel_wherever_they_are() -> None:
    mean, std = [1.0, 2.0, 3.0], [0.5, 1.0, 2.0]
    last = image.normalise(PICTURE[None], mean=mean, std=std)
    np.testing.assert_array_equal(
        last, (PICTURE[None].astype("f") - np.array(mean, np.float32)) / np.array(std, np.float32)
    )
    first = image.normalise(image.to_chw(PICTURE[None]), mean=mean, std=std, channels="first")
    np.testing.assert_array_equal(image.to_hwc(first), last)
    ragged = image.normalise(Ragged.from_rows([PICTURE, PICTURE[:2]]), mean=mean, std=std)
    np.testing.assert_array_equal(ragged[1], last[0, :2])


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"mean": 1}, "normalise needs std"),
        ({"mean": [1, 2], "std": 1}, "normalise has 2 values of mean for 3 channels"),
        ({"mean": 0, "std": [1, 0, 1]}, "a std of 0"),
        ({"mean": 0, "std": 1, "channels": "both"}, "channels is last or first, got 'both'"),
    ],
)
def test_normalise_refuses_when_the_graph_is_built(keywords: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        declared(image.normalise, "uint8[4,4,3]", **keywords)


def test_encode_takes_bytes_of_colour() -> None:
    with pytest.raises(ValueError, match=r"encode takes images of uint8, \[h,w\] or \[h,w,c\], got float32"):
        declared(image.encode, "float32[4,4]")
    with pytest.raises(ValueError, match="encode to jpeg takes 1, 3 channels on the last axis"):
        declared(image.encode, "uint8[4,4,4]", format="jpeg")
    with pytest.raises(InputError, match=r"motet.ops.image.encode: encode takes images of uint8"):
        image.encode(np.ones((1, 2, 2)))
