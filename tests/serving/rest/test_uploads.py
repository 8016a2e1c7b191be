"""Files and forms."""

import base64
import io

import numpy as np
import pytest

import motet as mt
from serving.rest.app_graphs import echo


@pytest.fixture(scope="module")
def said(live):
    """Asks graphs that say what they were given."""
    served = {
        name: live.serve(echo(name, **types))
        for name, types in {
            "grey": {"image": "uint8[28,28]"},
            "grey_channel": {"image": "uint8[8,6,1]"},
            "colours": {"image": "uint8[?,?,3]"},
            "tall": {"image": "uint8[10,?]"},
            "content": {"image": "bytes"},
            "mixed": {"image": "uint8[28,28]", "user": "string", "age": "int32"},
            "two": {"left": "uint8[?,?]", "right": "uint8[?,?]"},
        }.items()
    }
    return lambda name, **options: served[name].post(f"/predict/{name}{options.pop('query', '')}", **options)


def test_an_upload_is_answered_like_its_pixels(fashion, picture, png):
    wanted = fashion.post("/predict/fashion", json={"image": picture.tolist()}).json()
    file = png(picture)
    form = {"files": {"image": ("bag.png", file, "image/png")}}
    assert fashion.post("/predict/fashion", **form).json() == wanted
    assert fashion.post("/predict/fashion", content=file, headers={"content-type": "image/png"}).json() == wanted
    address = "data:image/png;base64," + base64.b64encode(file).decode()
    assert fashion.post("/predict/fashion", json={"image": address}).json() == wanted


@pytest.mark.parametrize(
    ("graph", "got"),
    [
        ("grey", "uint8[28, 28]"),
        ("grey_channel", "uint8[8, 6, 1]"),
        ("colours", "uint8[20, 30, 3]"),
        ("tall", "uint8[10, 30]"),
        ("content", "b'\\x89PNG"),
    ],
)
def test_a_picture_becomes_what_the_type_says(said, png, graph, got):
    file = png(np.full((20, 30, 3), 77, np.uint8))
    answer = said(graph, files={"image": file})
    assert answer.json()["said"].startswith(got)
    assert said(graph, content=file, headers={"content-type": "image/png"}).json() == answer.json()


def test_other_fields_are_the_other_inputs(said, png, picture):
    answer = said("mixed", files={"file": png(picture)}, data={"user": "ann", "age": "41"})
    assert answer.json() == {"said": "uint8[28, 28]|'ann'|np.int32(41)"}
    raw = {"content": png(picture), "headers": {"content-type": "image/png"}}
    assert said("mixed", query="?user=bob&age=7&explain=0", **raw).json() == {"said": "uint8[28, 28]|'bob'|np.int32(7)"}


def test_several_files_are_several_rows(said, png, picture):
    files = [("image", png(picture)), ("image", png(picture[:, :14]))]
    answer = said("mixed", files=files, data={"user": ["ann", "bob"], "age": "41"})
    assert answer.json() == {
        "rows": [{"said": "uint8[28, 28]|'ann'|np.int32(41)"}, {"said": "uint8[28, 28]|'bob'|np.int32(41)"}]
    }
    answer = said("mixed", files=[*files, files[0]], data={"user": ["ann", "bob"], "age": "41"})
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "field 'user' came 2 times, others 3 times; give it once, or for each row",
    )


@pytest.mark.parametrize(
    ("age", "status", "said_of_it"),
    [
        ("41.0", 200, "np.int32(41)"),
        ("", 400, "input 'age' is null"),
        ("4.5", 400, "is int32; got 4.5, which is not whole"),
    ],
)
def test_a_field_is_a_number_as_it_is_in_json(said, png, picture, age, status, said_of_it):
    answer = said("mixed", files={"image": png(picture)}, data={"user": "ann", "age": age})
    assert answer.status_code == status
    assert said_of_it in answer.text


def test_a_form_without_files(said):
    pixels = str(np.zeros((28, 28), int).tolist())
    answer = said("mixed", data={"image": pixels, "user": "ann", "age": "41"})
    assert answer.json() == {"said": "uint8[28, 28]|'ann'|np.int32(41)"}


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (
            {"files": {"image": b"no image"}},
            400,
            "input 'image': is no image that can be read: 8 bytes that begin with",
        ),
        ({"data": {"user": "ann"}}, 400, "input 'image' is missing; the graph takes"),
        ({"data": {"usr": "ann"}}, 400, "the form: unknown input 'usr'; did you mean 'user'?"),
        ({"data": {"age": "old"}}, 400, "input 'age': is int32, to be given as JSON"),
        ({"files": {"user": b"\xff"}}, 400, "input 'user': is string; got a file that is no text"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "the form is damaged: "),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=a"}}, 400, "the form is damaged"),
        ({"content": b"GIF89a", "headers": {"content-type": "image/gif"}}, 400, "input 'image': is "),
    ],
)
def test_mistakes_are_said(said, options, status, message):
    answer = said("mixed", **options)
    assert message in answer.json()["error"]
    assert answer.status_code == status


def test_a_picture_that_inflates_without_bound_is_refused(said):
    from PIL import Image

    file = io.BytesIO()
    Image.new("1", (8_200, 8_200)).save(file, "PNG")
    answer = said("colours", files={"image": file.getvalue()})
    assert answer.status_code == 400
    assert "is too large an image: 8200 x 8200 pixels, 67108864 are read" in answer.json()["error"]


def test_one_file_for_two_inputs_is_refused(said, png, picture):
    answer = said("two", content=png(picture), headers={"content-type": "image/png"})
    assert answer.status_code == 415
    answer = said("two", files={"left": png(picture), "right": png(picture)})
    assert answer.json() == {"said": "uint8[28, 28]|uint8[28, 28]"}


def test_a_file_that_cannot_be_read_fails_its_row_alone(said, png, picture):
    files = [("image", each) for each in (png(picture), b"no picture", png(picture)[:40], png(picture))]
    answer = said("mixed", files=files, data={"user": ["ann", "bob", "cid", "dan"], "age": ["1", "2", "3", "old"]})
    first, second, third, fourth = answer.json()["rows"]
    assert first == {"said": "uint8[28, 28]|'ann'|np.int32(1)"}
    assert second == {"error": "input 'image': is no image that can be read: 10 bytes that begin with b'no pictu'"}
    assert third["error"].startswith("input 'image': is a damaged image: ")
    assert fourth["error"].startswith("input 'age': is int32, to be given as JSON; ")
    assert answer.status_code == 200


def test_rows_that_cannot_be_read_are_among_the_errors(fashion, png, picture):
    before = len(fashion.get("/status.json").json()["errors"])
    fashion.post("/predict/fashion", files={"image": b"no picture"}, headers={"x-request-id": "unread"})
    kept = [each for each in fashion.get("/status.json").json()["errors"] if each["id"] == "unread"]
    assert [(each["graph"], each["node"], each["error"]) for each in kept] == [("fashion", "input", "InputError")]
    assert "is no image that can be read" in kept[0]["message"]
    assert before < 100


def test_a_picture_that_curl_calls_a_form_is_read(said, png):
    file = png(np.full((4, 3, 3), 9, np.uint8))
    for headers in ({"content-type": "application/x-www-form-urlencoded"}, {}):
        assert said("colours", content=file, headers=headers).json() == {"said": "uint8[4, 3, 3]"}
    answer = said("mixed", content=b"\x00\x01\xfe" * 200, headers={"content-type": "application/x-www-form-urlencoded"})
    assert answer.status_code == 400
    assert len(answer.json()["error"]) < 250
    assert answer.json()["error"].endswith("a file that is the whole body needs a header Content-Type: image/png")


def test_base64_of_a_picture_is_the_picture(said, png):
    file = base64.b64encode(png(np.full((20, 30, 3), 77, np.uint8))).decode()
    for graph, got in (("grey", "uint8[28, 28]"), ("colours", "uint8[20, 30, 3]"), ("tall", "uint8[10, 30]")):
        assert said(graph, json={"image": file}).json() == {"said": got}
    raw = base64.b64encode(b"\xff\xd8\xff" + bytes(781)).decode()
    assert said("grey", json={"image": raw}).json() == {"said": "uint8[28, 28]"}  # which begins as a JPEG, and is none


@pytest.mark.parametrize("text", ["https://example.org/cat.png", "cat.png", base64.b64encode(b"abc").decode()])
def test_a_text_that_is_no_picture_says_how_one_is_written(said, text):
    answer = said("colours", json={"image": text})
    assert answer.status_code == 400
    assert answer.json()["error"].endswith("the file of a picture is written data:image/png;base64,...")


@pytest.mark.parametrize("wanted", ["png", "jpeg"])
def test_a_picture_is_answered_as_a_file_where_that_is_asked_for(live, png, wanted):
    from PIL import Image

    photo = mt.input("photo", "uint8[?,?,3]")
    flipped = mt.map(mt.ops.image.flip, photo)
    served = live.serve(
        mt.Graph("pixels", outputs={"shown": flipped}),
        mt.Graph(
            "file", outputs={"shown": mt.map(mt.ops.image.encode, flipped), "other": mt.map(mt.ops.image.encode, photo)}
        ),
        mt.Graph("one", outputs={"shown": mt.map(mt.ops.image.encode, flipped)}),
    )
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:, :12] = 200
    asked = {"files": {"photo": png(pixels)}, "headers": {"accept": f"image/{wanted}"}}
    for graph in ("pixels", "one"):
        answer = served.post(f"/predict/{graph}", **asked)
        assert answer.headers["content-type"] == f"image/{wanted}"
        with Image.open(io.BytesIO(answer.content)) as shown:
            assert shown.format == wanted.upper()
            assert np.abs(np.asarray(shown).astype(int) - pixels[:, ::-1]).max() <= (0 if wanted == "png" else 40)
    answer = served.post("/predict/file", **asked)
    assert (answer.status_code, "2 outputs are pictures: shown, other" in answer.json()["error"]) == (400, True)
    assert "shown" in served.post("/predict/one", files=asked["files"], headers={"accept": "*/*"}).json()
