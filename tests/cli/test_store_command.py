"""`motet store`: versions of models, from a terminal."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from motet.cli import cli
from store.store_files import write_model


@pytest.fixture
def run(tmp_path: Path) -> Any:
    def ran(*arguments: Any, code: Any = 0) -> Any:
        result = CliRunner().invoke(cli, ["store", *arguments], env={"MOTET_STORE": str(tmp_path / "store")})
        assert result.exit_code == code, result.output
        return result.output

    return ran


@pytest.fixture
def files(tmp_path: Path) -> Any:
    return [str(write_model(tmp_path / f"m{factor}.onnx", factor)) for factor in (1, 2)]


def test_models_are_published_listed_promoted_and_rolled_back(run: Any, files: Any) -> None:
    assert re.fullmatch(r"the store \S+ has no models\n", run("ls"))
    assert run("publish", "times", files[0], "--metric", "accuracy=0.5", "--lineage", "run=r1") == "times@1\n"
    assert run("publish", "times", files[1], "--alias", "latest", "--alias", "champion") == "times@2\n"
    assert run("publish", "times", files[1]) == "times@2\n"
    assert run("ls").splitlines()[1].split() == ["times", "2", "champion=2,", "latest=2"]
    lines = run("ls", "times").splitlines()
    assert lines[0].split()[0] == "VERSION"
    assert "accuracy=0.5" in lines[1]
    assert "champion,latest" in lines[2]
    assert run("promote", "times@1") == "times@1 is champion\n"
    assert run("rollback", "times") == "times@2 is champion\n"


def test_what_is_known_of_a_version_is_shown(run: Any, files: Any) -> None:
    run("publish", "times", files[0], "--metric", "accuracy=0.5", "--lineage", "run=r1")
    said = json.loads(run("show", "times", "--json"))
    assert (said["name"], said["number"], said["metrics"], said["lineage"]) == (
        "times",
        1,
        {"accuracy": 0.5},
        {"run": "r1"},
    )
    assert said["inputs"] == {"x": "float32"}
    assert "accuracy: 0.5" in run("show", "times")
    assert json.loads(run("ls", "--json")) == {"times": {"latest": 1}}
    assert json.loads(run("ls", "times", "--json"))[0]["aliases"] == ["latest"]


def test_versions_are_removed(run: Any, files: Any) -> None:
    for file in files:
        run("publish", "times", file)
    assert "is what latest points at" in run("rm", "times@2", code=2)
    assert run("rm", "times@1") == "removed times@1\n"
    assert run("rm", "times@2", "--force") == "removed times@2\n"
    assert run("gc") == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("show", "times"), 1, "the store has no model 'times'; there are none"),
        (("rollback", "times"), 1, "the store has no model 'times'"),
        (("rm", "times"), 2, "write NAME@NUMBER; got 'times'"),
        (("publish", "a/b", "m.onnx"), 2, "'a/b' is no name for a model"),
        (("publish", "times", "nothing.onnx"), 2, "there is no file nothing.onnx"),
        (("publish", "times", "m.onnx", "--metric", "accuracy"), 2, "write --metric NAME=VALUE; got 'accuracy'"),
        (("publish", "times", "m.onnx", "--metric", "accuracy=high"), 2, "must be a number; got 'high'"),
    ],
)
def test_mistakes_are_said(run: Any, arguments: Any, code: int, message: str) -> None:
    assert message in run(*arguments, code=code)
