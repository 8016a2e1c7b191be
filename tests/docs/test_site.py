"""The documentation site builds with every page in its navigation, and a link that leads nowhere fails it."""

import importlib.util
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.docs_pages import ROOT


@pytest.fixture(scope="module")
def site() -> Any:
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "docs" / "site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages(nav: Any) -> Iterator[Any]:
    for each in nav.values() if isinstance(nav, dict) else nav:
        yield from [each] if isinstance(each, str) else pages(each)


def test_every_page_is_in_the_navigation(site: Any, tmp_path: Path) -> None:
    site.gather(tmp_path)
    nav = tomllib.loads((ROOT / "docs" / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    assert sorted(pages(nav)) == sorted(str(page.relative_to(tmp_path)) for page in tmp_path.rglob("*.md"))


def test_the_site_builds_and_can_be_searched(site: Any, tmp_path: Path) -> None:
    assert site.build(tmp_path / "built") == 0
    found = json.loads((tmp_path / "built" / "site" / "search.json").read_text(encoding="utf-8"))
    assert {"docs/graphs/", "docs/reference/api/", "examples/photos/"} <= {
        item["location"].partition("#")[0] for item in found["items"]
    }
    shown = (tmp_path / "built" / "site" / "examples" / "photos" / "index.html").read_text(encoding="utf-8")
    assert "<summary>cascade.yaml</summary>" in shown
    table = (tmp_path / "built" / "site" / "docs" / "keys" / "index.html").read_text(encoding="utf-8")
    assert "<code>a|b|c</code>" in table


@pytest.mark.parametrize("link", ["docs/no-such-page.md", "docs/graphs.md#no-such-part"])
def test_a_link_that_leads_nowhere_fails(site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str) -> None:
    root = tmp_path / "root"
    (root / "docs").mkdir(parents=True)
    (root / "examples").mkdir()
    (root / "README.md").write_text(f"# A page\n\n[A link]({link})\n", encoding="utf-8")
    (root / "examples" / "README.md").touch()
    (root / "docs" / "graphs.md").write_text("# Graphs\n", encoding="utf-8")
    (root / "docs" / "zensical.toml").write_text('[project]\nsite_name = "A"\ndocs_dir = "pages"\n', encoding="utf-8")
    monkeypatch.setattr(site, "ROOT", root)
    assert site.build(tmp_path / "built") == 1
    (root / "README.md").write_text("# A page\n\n[A link](docs/graphs.md#graphs)\n", encoding="utf-8")
    assert site.build(tmp_path / "built") == 0
