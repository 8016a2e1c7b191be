"""One file is the same pixels whichever way it comes, and those are Pillow's.

The rule that is checked, in Pillow's own words: the first frame, `ImageOps.exif_transpose`, then `convert` to L, RGB or
RGBA as the type has 2 axes, 3 or 4 channels; but 16 bits of grey are `>> 8`, floats are refused, transparency is dropped.
"""

from __future__ import annotations

import base64
import io
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageCms, ImageOps

import motet as mt
from helpers.live_server import Live
from motet.errors import InputError
from motet.io.arrow import IMAGE_METADATA

HEIGHT, WIDTH = 5, 7
RNG = np.random.default_rng(5)
COLOURS = Image.fromarray(RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
DEEP = RNG.integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
DEEP[0, :4] = [0, 256, 32768, 65535]
TYPES = {
    "grey": "uint8[?,?]", "rgb": "uint8[?,?,3]", "rgba": "uint8[?,?,4]", "flat": "uint8[?,?,1]",
    "small": "uint8[3,2]", "wide": "uint8[4,20,3]", "tall": "uint8[11,?,3]",
}  # fmt: skip
MODES = {"grey": "L", "rgb": "RGB", "rgba": "RGBA", "flat": "L", "small": "L", "wide": "RGB", "tall": "RGB"}
SIZES = {"small": (2, 3), "wide": (20, 4), "tall": (None, 11)}
"""Width and height that a type has; pictures are stretched to it."""


def _of_mode(mode: str) -> Image.Image:
    if mode in ("I;16", "I;16B"):
        return Image.frombytes(mode, (WIDTH, HEIGHT), DEEP.astype("<u2" if mode == "I;16" else ">u2").tobytes())
    if mode in ("I", "F"):
        return Image.fromarray(DEEP.astype(np.int32 if mode == "I" else np.float32))
    if mode == "PA":
        return COLOURS.convert("P").convert("PA")
    if mode == "LAB":
        profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
        return ImageCms.applyTransform(COLOURS, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    picture = COLOURS.convert(mode)
    if mode in ("LA", "RGBA"):
        picture.putalpha(Image.fromarray((DEEP >> 8).astype(np.uint8)))
    return picture


def _written(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # Pillow 12 writes mode I as PNG of 16 bits, and 13 does not
        picture.save(file, kind, **options)
    return file.getvalue()


def _turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _files() -> dict[str, bytes]:
    """Every mode in every format that can hold it, and what is odd in other ways."""
    found = {}
    for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I;16B", "I", "F"):
        for kind in ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "PPM"):
            try:
                found[f"{mode.replace(';', '')}.{kind.lower()}"] = _written(_of_mode(mode), kind)
            except (OSError, ValueError):
                continue  # the format cannot hold the mode
    for orientation in range(1, 9):
        found[f"turned{orientation}.jpg"] = _written(COLOURS, "JPEG", exif=_turned(orientation))
        found[f"turned{orientation}.png"] = _written(_of_mode("I;16"), "PNG", exif=_turned(orientation))
    frames = [COLOURS, ImageOps.invert(COLOURS)]
    for kind in ("GIF", "WEBP", "PNG"):
        found[f"moving.{kind.lower()}"] = _written(frames[0], kind, save_all=True, append_images=frames[1:])
    palette = COLOURS.convert("P")
    found["clear.png"] = _written(palette, "PNG", transparency=bytes(range(0, 256, 2)))
    found["clear.gif"] = _written(palette, "GIF", transparency=3)
    found["keyed.png"] = _written(COLOURS, "PNG", transparency=COLOURS.getpixel((0, 0)))
    return found


FILES = _files()
BROKEN = {
    "text.png": b"no picture at all",
    "empty.png": b"",
    "cut.png": _written(COLOURS.resize((60, 60)), "PNG")[:300],
    "cut.jpg": _written(COLOURS.resize((200, 200)), "JPEG")[:-400],
    "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n",
    "bomb.png": _written(Image.new("1", (8200, 8200)), "PNG"),
    "negative.tif": _written(Image.fromarray(np.array([[-1, 5]], np.int32)), "TIFF"),
}


def _wanted(data: bytes, form: str) -> list | None:
    """What Pillow makes of a file; None where it is refused."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            upright = ImageOps.exif_transpose(image)
    except OSError:
        return None
    if upright.mode == "F":
        return None
    if upright.mode.startswith("I"):
        values = np.asarray(upright)
        if values.min() < 0:
            return None
        upright = Image.fromarray((values >> 8).astype(np.uint8))
    upright = upright.convert("RGBA") if upright.mode in ("P", "LAB") else upright
    if upright.mode == "RGBA" and MODES[form] != "RGBA":  # transparency is dropped, not blended
        upright = Image.fromarray(np.asarray(upright)[..., :3])
    converted = upright.convert(MODES[form])
    width, height = SIZES.get(form, converted.size)
    pixels = np.asarray(converted.resize((width or converted.width, height), Image.Resampling.BILINEAR))
    return (pixels[..., None] if form == "flat" else pixels).tolist()


WANTED = {form: {name: _wanted(data, form) for name, data in FILES.items()} for form in TYPES}


def _said(form: str) -> mt.Graph:
    """A graph that gives back the picture that it was given."""
    image = mt.input("image", TYPES[form])
    return mt.Graph(form, outputs={"pixels": mt.map(mt.ops.image.flip, mt.map(mt.ops.image.flip, image))})


def _decoding(form: str) -> mt.Graph:
    image = mt.map(mt.ops.image.decode, mt.input("image", "bytes"), mode=form)
    return mt.Graph(f"{form}_decoded", outputs={"pixels": image})


def _written_pixels(path: Path) -> list:
    """The answers of a run, as nested lists."""
    column = pq.read_table(path)["pixels"].combine_chunks()
    fixed = isinstance(column.type, pa.FixedShapeTensorType)
    return column.to_numpy_ndarray().tolist() if fixed else column.to_pylist()


def _run(graph: mt.Graph, source: Any, folder: Path, rows: int, **options: Any) -> dict[int, list]:
    """The answers of a run by row, in batches of 3; rows that failed are not there."""
    report = graph.run(source, folder / "out.parquet", overwrite=True, batch_rows=3, **options)
    failed = pq.read_table(report.failed_output)["row"].to_pylist() if report.failed_output else []
    answers = iter(_written_pixels(folder / "out.parquet"))
    return {row: next(answers) for row in range(rows) if row not in failed}


def _address(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pictures")
    for name, data in (FILES | BROKEN).items():
        (made / name).write_bytes(data)
    return made


@pytest.mark.parametrize("form", TYPES)
def test_a_folder(folder: Path, tmp_path: Path, form: str) -> None:
    report = _said(form).run(folder, tmp_path / "out.parquet", batch_rows=3)
    paths = pq.read_table(tmp_path / "out.parquet")["path"].to_pylist()
    pixels = _written_pixels(tmp_path / "out.parquet")
    answered = {Path(path).name: row for path, row in zip(paths, pixels, strict=True)}
    wanted = {name: pixels for name, pixels in WANTED[form].items() if pixels is not None}
    assert sorted(answered) == sorted(wanted)
    assert {name for name in wanted if answered[name] != wanted[name]} == set()
    assert report.failed == len(FILES) + len(BROKEN) - len(wanted)


STORED = {
    "marked": lambda rows: (pa.array(rows, pa.binary()), IMAGE_METADATA),
    "bare": lambda rows: (pa.array(rows, pa.binary()), None),
    "large": lambda rows: (pa.array(rows, pa.large_binary()), None),
    "view": lambda rows: (pa.array(rows, pa.binary_view()), None),
    "dictionary": lambda rows: (pa.array(rows, pa.binary()).dictionary_encode(), None),
    "hugging face": lambda rows: (pa.array([{"bytes": row, "path": "a.png"} for row in rows], HUGGING_FACE), None),  # type: ignore[has-type]
}
HUGGING_FACE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""What `datasets.Image` is in Parquet."""


@pytest.mark.parametrize("form", TYPES)
@pytest.mark.parametrize("stored", STORED)
def test_a_column_of_files(tmp_path: Path, form: str, stored: str) -> None:
    everything = FILES | BROKEN
    array, metadata = STORED[stored](list(everything.values()))
    schema = pa.schema([pa.field("image", array.type, metadata=metadata)])
    source = pa.table([array], schema=schema)
    if stored != "view":  # which Parquet does not have
        pq.write_table(source, tmp_path / "in.parquet", row_group_size=7)
        source = tmp_path / "in.parquet"
    answered = _run(_said(form), source, tmp_path, len(everything))
    if form == "tall" and stored not in ("marked", "hugging face"):
        assert answered.pop(list(everything).index("empty.png")) == [[]] * 11  # no bytes are 11 rows of no pixels
    for row, name in enumerate(everything):
        assert answered.get(row) == WANTED[form].get(name), name


@pytest.mark.parametrize("form", TYPES)
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("is_address", [False, True])
def test_text_of_files(tmp_path: Path, form: str, suffix: str, is_address: bool) -> None:
    everything = FILES | BROKEN
    texts = [_address(data) if is_address else base64.b64encode(data).decode() for data in everything.values()]
    path = tmp_path / f"in.{suffix}"
    if suffix == "csv":
        path.write_text("\n".join(["image,other", *(f'"{text}",1' for text in texts), ""]), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps({"image": text}) + "\n" for text in texts), encoding="utf-8")
    answered = _run(_said(form), path, tmp_path, len(everything))
    if form == "tall" and (suffix == "jsonl" or is_address):
        assert answered.pop(list(everything).index("empty.png")) == [[]] * 11  # no bytes are 11 rows of no pixels
    for row, name in enumerate(everything):
        assert answered.get(row) == WANTED[form].get(name), name


@pytest.mark.parametrize("form", TYPES)
def test_a_call(form: str) -> None:
    graph = _said(form)
    for name, data in (FILES | BROKEN).items():
        for given in (data, _address(data), base64.b64encode(data).decode()):
            if WANTED[form].get(name) is None:
                with pytest.raises(mt.errors.RowErrors):
                    graph({"image": [given]})
            else:
                assert graph({"image": [given]})["pixels"][0].tolist() == WANTED[form][name], name


@pytest.mark.parametrize("size", range(60, 90))
def test_a_file_of_as_many_bytes_as_pixels_is_a_file(tmp_path: Path, size: int) -> None:
    """Beside rows of pixels, one of which begins as a JPEG does."""
    file = _written(COLOURS.convert("L").resize((2, 2)), "PNG")
    raw = [bytes(size), b"\xff\xd8\xff" + bytes(size - 3), b"BM" + bytes(size - 2), b"P5\n" + bytes(size - 3)]
    table = pa.table(
        {"image": pa.array([*raw, file + bytes(size - len(file)) if len(file) <= size else file], pa.binary())}
    )
    image = mt.input("image", f"uint8[1,{size}]")
    graph = mt.Graph("raw", outputs={"pixels": mt.map(mt.ops.image.flip, mt.map(mt.ops.image.flip, image))})
    answered = _run(graph, table, tmp_path, len(raw) + 1)
    assert [answered[row][0] for row in range(len(raw))] == [list(row) for row in raw]
    with Image.open(io.BytesIO(file)) as opened:
        wanted = np.asarray(opened.convert("L").resize((size, 1), Image.Resampling.BILINEAR)).tolist()
    assert answered[len(raw)] == wanted


def test_bytes_of_a_hugging_face_column_stay_bytes(tmp_path: Path) -> None:
    rows = [{"bytes": data, "path": None} for data in FILES.values()] + [{"bytes": None, "path": "gone.png"}, None]
    table = pa.table({"image": pa.array(rows, HUGGING_FACE)})
    answered = _run(_decoding("rgb"), table, tmp_path, len(rows))
    for row, name in enumerate(FILES):
        assert answered.get(row) == WANTED["rgb"][name], name
    failed = pq.read_table(tmp_path / "out.parquet.failed.parquet")
    messages = dict(zip(failed["row"].to_pylist(), failed["message"].to_pylist(), strict=True))
    assert messages[len(FILES)] == "column 'image' has no bytes, only the path 'gone.png'"
    assert messages[len(FILES) + 1] == "column 'image' is null"


@pytest.mark.parametrize("form", ["grey", "rgb"])
def test_the_op_called_and_in_bulk(tmp_path: Path, form: str) -> None:
    for name, data in FILES.items():
        column = np.array([data], object)
        if WANTED[form][name] is None:
            with pytest.raises(
                InputError, match="is an image of floats|is a damaged image"
            ):  # Pillow 12 writes YCbCr so
                mt.ops.image.decode(column, mode=form)
        else:
            assert mt.ops.image.decode(column, mode=form)[0].tolist() == WANTED[form][name], name
    for data in BROKEN.values():
        with pytest.raises(InputError, match=r"data is (no image|a damaged image|too large|an image of whole numbers)"):
            mt.ops.image.decode(np.array([data], object), mode=form)
    everything = FILES | BROKEN
    table = pa.table({"image": pa.array(list(everything.values()), pa.binary())})
    answered = _run(_decoding(form), table, tmp_path, len(everything))
    for row, name in enumerate(everything):
        assert answered.get(row) == WANTED[form].get(name), name


# live


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    made = tmp_path_factory.mktemp("served")
    for form in TYPES:
        _said(form).save(made / f"{form}.yaml")
    for form in ("grey", "rgb"):
        _decoding(form).save(made / f"{form}_decoded.yaml")
    live = Live(made, *sorted(made.glob("*.yaml")))
    live.until_ready()
    with httpx.Client(base_url=live.url, timeout=60) as client:
        yield client
    live.close()


@pytest.mark.parametrize("form", TYPES)
def test_addresses_in_json(server: httpx.Client, form: str) -> None:
    everything = FILES | BROKEN
    rows = [{"image": _address(data)} for data in everything.values()]
    answers = server.post(f"/predict/{form}", json={"rows": rows}).json()["rows"]
    for name, answer in zip(everything, answers, strict=True):
        assert answer.get("pixels") == WANTED[form].get(name), name
        assert ("error" in answer) == (WANTED[form].get(name) is None), name


@pytest.mark.parametrize("form", TYPES)
def test_forms_and_bodies(server: httpx.Client, form: str) -> None:
    for name, data in (FILES | BROKEN).items():
        wanted = WANTED[form].get(name)
        asked = {"files": {"image": (name, data)}}, {"content": data, "headers": {"content-type": "image/png"}}
        for answer in (server.post(f"/predict/{form}", **options) for options in asked):
            assert answer.json().get("pixels") == wanted, name
            assert answer.status_code == (400 if wanted is None else 200), name


@pytest.mark.parametrize("form", ["grey", "rgb"])
def test_bytes_of_an_inference_request(server: httpx.Client, form: str) -> None:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1]}
    for name, data in (FILES | BROKEN).items():
        wanted = WANTED[form].get(name)
        framed = len(data).to_bytes(4, "little") + data
        head = {"inputs": [tensor | {"parameters": {"binary_data_size": len(framed)}}]}
        text = httpx.Request("POST", "http://x", json=head).content
        headers = {"inference-header-content-length": str(len(text))}
        answer = server.post(f"/v2/models/{form}_decoded/infer", content=text + framed, headers=headers)
        found = answer.json()["outputs"][0] if answer.status_code == 200 else None
        assert (found and np.reshape(found["data"], found["shape"])[0].tolist()) == wanted, (name, answer.text[:300])
