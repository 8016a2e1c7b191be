"""Pictures that the page offers to try."""

from PIL import Image

from motet.serving.config.server import ServeConfig
from motet.serving.rest import AppParts
from serving.rest.app_graphs import echo


def test_pictures_of_a_folder_are_offered_and_nothing_else(live, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("b boot.png", "a.png"):
        Image.new("L", (28, 28), 7).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    (folder / "large.png").write_bytes(bytes(2 << 20))
    (tmp_path / "secret.png").write_bytes(b"not for all")
    served = live.serve(echo("echo", x="float32"), parts=AppParts(samples=str(folder)))

    assert served.get("/samples.json").json() == ["a.png", "b boot.png"]
    answer = served.get("/samples/b%20boot.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content == (folder / "b boot.png").read_bytes()
    for name in ("notes.txt", "large.png", "..%2Fsecret.png", "../secret.png"):
        assert served.get(f"/samples/{name}").status_code == 404


def test_no_folder_offers_nothing(live, tmp_path):
    for folder in ("", str(tmp_path / "none")):
        assert live.serve(echo("echo", x="float32"), parts=AppParts(samples=folder)).get("/samples.json").json() == []


def test_the_folder_is_relative_to_the_file_that_names_it(tmp_path):
    assert ServeConfig.read({"samples": "pictures"}, "serve", str(tmp_path)).samples == str(tmp_path / "pictures")
