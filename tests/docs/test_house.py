"""The picture of the house: which part imports which, on which floor it is, and what runs back."""

import importlib.util
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest

from docs.docs_pages import ROOT

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("docs_house", ROOT / "docs" / "house.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SOURCE", tmp_path)
    return module


def write(folder: Any, **files: Any) -> None:
    for name, text in files.items():
        path = folder / "shop" / (name.replace("__in__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_imports_are_those_of_parts_however_they_are_written(house: Any, tmp_path: Path) -> None:
    write(
        tmp_path,
        __init__="from shop.till import pay",
        till="import os\nimport shop.stock.shelf\nfrom shop import prices as p\n\ndef pay():\n    from shop.bell import ring",
        prices="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from shop.till import pay\nelse:\n    import shop.bell",
        bell="import shopping.till",
        stock__in__shelf="from shop.stock.box import Box\nfrom shop.prices import price",
        stock__in__box="",
    )
    assert house.imports("shop") == {
        "till": {"stock", "prices", "bell"}, "prices": {"bell"}, "bell": set(), "stock": {"prices"},
    }  # fmt: skip


def test_parts_are_on_the_floor_above_what_they_import(house: Any, tmp_path: Path) -> None:
    write(tmp_path, a="import shop.b, shop.d", b="import shop.c", c="import shop.d", d="", e="import shop.d")
    assert house.floors(house.imports("shop")) == {"a": 3, "b": 2, "c": 1, "d": 0, "e": 1}
    drawn = xml.etree.ElementTree.fromstring(house.picture("shop"))
    heights = {text.text: float(text.get("y")) for text in drawn.iter(f"{SVG}text")}
    assert heights["a"] < heights["b"] < heights["c"] == heights["e"] < heights["d"]
    assert len(drawn.findall(f"{SVG}path")) == 4  # a to d is reached through b
    assert "5 parts on 4 floors; of 5 imports none runs back" in heights


def test_what_runs_back_is_red_and_as_little_as_can_be(house: Any, tmp_path: Path) -> None:
    write(
        tmp_path, a="import shop.b, shop.c", b="import shop.c", c="import shop.d", d="import shop.b", e="import shop.a"
    )
    assert house.backward(house.imports("shop")) in [{("d", "b")}, {("b", "c")}, {("c", "d")}]
    drawn = xml.etree.ElementTree.fromstring(house.picture("shop"))
    assert [path.get("class") for path in drawn.iter(f"{SVG}path")].count("back") == 1


def test_no_import_of_the_house_runs_back(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house, "SOURCE", ROOT / "src")
    assert house.backward(house.imports("motet")) == set()
