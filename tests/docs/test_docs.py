"""The README and the guides: their examples run, their links lead somewhere, and the reference is up to date."""

import importlib.util
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.docs_pages import PAGES, ROOT, Runner, blocks, prepare

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)\s]*)?\)")
MAKE = re.compile(r"(?:^    |`)make ([a-z]+)", re.MULTILINE)


def ids(page: Any) -> Any:
    return str(page.relative_to(ROOT))


@pytest.mark.timeout(300)  # the page on Ray waits for its processes
@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_the_blocks_of_a_page_run(
    page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if page.name == "spark.md":
        context = request.getfixturevalue("spark_session").sparkContext
        context._jsc.hadoopConfiguration().set("fs.file.impl.disable.cache", "true")
        context._jvm.System.setProperty("user.dir", str(tmp_path))  # where Spark, which runs already, looks for files
    if page.name == "ray.md":
        request.getfixturevalue("ray_cluster")
    runner, environment = Runner(page), dict(os.environ)
    if page.name == "streams.md":
        broker = request.getfixturevalue("kafka")
        broker.topics("orders")
        broker.send("orders", [{"value": b'{"user": "ada", "amount": 12.5, "note": "as it was"}'}])
        runner.ports["9092"] = broker.address.partition(":")[2]
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sockets = tempfile.TemporaryDirectory(prefix="motet-", dir="/tmp")
    os.environ["MOTET_RUNTIME_DIR"] = sockets.name  # commands find the page's servers alone
    try:
        for block in blocks(page):
            runner.run(block)
    finally:
        runner.close()
        os.environ.clear()
        os.environ.update(environment)
        sockets.cleanup()
        for name in runner.modules:
            sys.modules.pop(name, None)


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "docs" / "reference").glob("*.md"))], ids=ids)
def test_links_lead_to_files_that_are_there(page: Any) -> None:
    targets = [target for target, _ in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_make_targets_that_are_named_are_there(page: Any) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(MAKE.findall(page.read_text(encoding="utf-8"))) <= targets


def test_the_python_example_of_the_readme_is_short() -> None:
    first = next(block for block in blocks(ROOT / "README.md") if block.language == "python")
    assert len(first.text.splitlines()) <= 15


def test_the_topology_of_the_readme_is_that_of_the_example() -> None:
    shown = next(block for block in blocks(ROOT / "README.md") if "name: swarm" in block.text)
    example = (ROOT / "examples" / "swarm" / "swarm.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(shown.text) == yaml.safe_load(example.replace("../fashion/models", "models"))


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_up_to_date() -> None:
    module = generator()
    assert module.differences(module.pages()) == [], "run make docs"


def test_a_docstring_becomes_markdown() -> None:
    doc = "Do it.\n\nArgs:\n    one: the first,\n        and more.\n    two: the second.\n\nReturns:\n    What it did.\n\n>>> 1 + 1\n2"
    assert generator().markdown(doc).splitlines() == [
        "Do it.", "", "**Args**", "", "- `one`: the first,", "  and more.", "- `two`: the second.", "", "**Returns**", "",
        "What it did.", "", "```pycon", ">>> 1 + 1", "2", "```",
    ]  # fmt: skip
