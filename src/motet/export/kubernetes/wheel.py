"""Motet as a wheel, made of the files that run here: what the image installs, whether or not it is published anywhere."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import motet
from motet.version import __version__

__all__ = ["WHEEL", "own_wheel"]

WHEEL = f"motet-{__version__}-py3-none-any.whl"
_ABOUT = f"motet-{__version__}.dist-info"
_KIND = "Wheel-Version: 1.0\nGenerator: motet export\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_DATE = (1980, 1, 1, 0, 0, 0)


def own_wheel() -> bytes:
    """The wheel: the same bytes for the same files.

    https://packaging.python.org/en/latest/specifications/binary-distribution-format/
    """
    files = {**_modules(), **_metadata()}
    lines = [f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in files.items()]
    record = f"{_ABOUT}/RECORD"
    files[record] = "".join([*lines, f"{record},,\n"]).encode()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return made.getvalue()


def _modules() -> Mapping[str, bytes]:
    folder = Path(motet.__file__).parent
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return {f"motet/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in found}


def _metadata() -> Mapping[str, bytes]:
    own = metadata.distribution("motet")
    texts = {name: own.read_text(name) for name in ("METADATA", "entry_points.txt")}
    found = {f"{_ABOUT}/{name}": text.encode() for name, text in texts.items() if text is not None}
    for each in own.files or ():
        if ".dist-info/licenses/" in each.as_posix():
            found[f"{_ABOUT}/{each.as_posix().partition('/')[2]}"] = Path(str(each.locate())).read_bytes()
    return {**found, f"{_ABOUT}/WHEEL": _KIND.encode()}


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
