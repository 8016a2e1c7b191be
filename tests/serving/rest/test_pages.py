"""The files of the page, the drawings, numbers and metrics."""

import re
import subprocess
import sys

import pytest

from motet.serving.rest import AppParts
from serving.rest.app_graphs import echo, tens


@pytest.mark.parametrize("path", ["/", "/docs", "/page/page.js", "/page/page.css", "/page/icon.svg"])
def test_files_of_the_page(fashion, path):
    answer = fashion.get(path)
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = fashion.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name", ["../app/app.py", "..%2Fapp%2Fapp.py", "%2e%2e/config.py", "nothing.js", "", "__pycache__"]
)
def test_nothing_else_is_given_out(fashion, name):
    assert fashion.get(f"/page/{name}").status_code == 404


def test_the_page_asks_nobody_else(fashion):
    """No font, script or style sheet of another place, and every file that is named exists."""
    for path in ("/", "/docs"):
        text = fashion.get(path).text
        assert not re.search(r'(src|href)="(https?:)?//', text)
        for file in re.findall(r'(?:src|href)="(/page/[^"]+)"', text):
            answer = fashion.get(file)
            assert answer.status_code == 200
            for imported in re.findall(r'from "\./([^"]+)"', answer.text):
                assert fashion.get(f"/page/{imported}").status_code == 200


def test_what_the_page_is_told_of_graphs(live):
    kinds = {
        "image": "uint8[?,?,3]",
        "text": "string",
        "flag": "bool",
        "many": "float32[?]",
        "raw": "bytes",
        "n": "int8",
    }
    served = live.serve(echo("told", **kinds))
    (told,) = served.get("/graphs.json").json()["served"]
    assert {each["name"]: each["widget"] for each in told["inputs"]} == {
        "image": "picture", "text": "text", "flag": "flag", "many": "json", "raw": "file", "n": "number",
    }  # fmt: skip
    (output,) = told["outputs"]
    assert (output["name"], output["type"], output["picture"]) == ("said", "string", False)


def test_names_of_classes_are_found(fashion):
    told = {each["name"]: each for each in fashion.get("/graphs.json").json()["served"]}
    (labels,) = told["fashion"]["labels"]
    assert labels[9] == "Ankle boot"
    assert told["fashion"]["classes"] == dict.fromkeys(
        ["vote.probabilities", *(f"vote.{member}.probabilities" for member in ("linear", "mlp", "cnn"))], 0
    )
    assert [(each["classes"], each["positions"]) for each in told["fashion"]["outputs"]] == [
        (None, 0),  # the position that top1 found among them
        (None, None),
        (None, None),
    ]
    assert told["fashion.cnn"]["labels"] == [labels]
    assert told["fashion.cnn"]["outputs"][0]["classes"] == 0
    assert told["cascade"]["labels"] == []


def test_a_drawing_names_its_nodes(fashion):
    answer = fashion.get("/graphs/fashion.svg")
    assert answer.headers["content-type"].startswith("image/svg+xml")
    assert 'data-node="vote" data-kind="ensemble"' in answer.text
    assert fashion.get("/graphs/fashion.cnn.svg").status_code == 200
    assert fashion.get("/graphs/nothing.svg").status_code == 404


def test_the_numbers_of_this_process(live):
    served = live.serve(tens("tens_counted"))
    before = served.get("/status.json").json()["graphs"]["tens_counted"]["nodes"]["model_1"]
    served.post("/predict/tens_counted", json={"rows": [{"x": 1}, {"x": 13}, {"x": 2}], "id": "mine"})
    status = served.get("/status.json").json()
    node = status["graphs"]["tens_counted"]["nodes"]["model_1"]
    assert (node["rows"] - before["rows"], node["failed_rows"] - before["failed_rows"]) == (3, 1)
    assert status["graphs"]["tens_counted"]["queued_rows"] == 0
    assert status["ready"] is True
    assert status["states"]["tens_counted"] == {"state": "READY", "reason": ""}
    (error,) = status["errors"]
    assert (error["graph"], error["node"], error["error"], error["id"]) == (
        "tens_counted",
        "model_1",
        "ValueError",
        "mine",
    )


def test_numbers_and_metrics_of_a_provider(live):
    async def status():
        return {"time": 1, "graphs": {}, "errors": [], "processes": 3}

    async def metrics(accept):
        return f"# {accept}\n".encode(), "text/plain; version=0.0.4"

    parts = AppParts(status=status, metrics=metrics)
    served = live.serve(tens("tens_provided"), parts=parts)
    assert served.get("/status.json").json()["processes"] == 3
    answer = served.get("/metrics", headers={"accept": "application/openmetrics-text"})
    assert answer.text == "# application/openmetrics-text\n"
    assert answer.headers["content-type"] == "text/plain; version=0.0.4"


def test_metrics_are_404_where_nobody_counts(fashion):
    answer = fashion.get("/metrics")
    assert answer.status_code == 404
    assert "counts nothing for Prometheus" in answer.json()["error"]


def test_the_application_needs_nothing_of_experiments():
    """A server without them has neither SQLAlchemy nor their modules."""
    code = (
        "import sys; sys.modules['sqlalchemy'] = None\n"
        "from motet.serving.rest import create_app\n"
        "print([name for name in sys.modules if name.endswith(('experiments.database', 'serving.sinks', 'guardian'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n"
