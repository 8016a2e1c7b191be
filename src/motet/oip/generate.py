"""Compile the .proto files beside this module into descriptors.py; needs grpcio-tools: `python -m motet.oip.generate`.

Only the descriptors are kept, not classes: these are built in a pool of their own (see messages.py).
"""

from __future__ import annotations

import tempfile
from importlib.resources import files
from pathlib import Path

__all__ = ["compiled", "main"]

PROTOS = ("inference.proto", "health.proto", "status.proto", "reflection.proto")
_FOLDER = Path(__file__).parent
_HEAD = '''"""The compiled .proto files: a serialized FileDescriptorSet. Written by generate.py; do not edit."""

# fmt: off
__all__ = ["DESCRIPTORS"]

DESCRIPTORS = (
'''


def compiled() -> bytes:
    """A serialized `FileDescriptorSet` of the .proto files and what they import.

    Raises:
        RuntimeError: when a file cannot be compiled; the compiler has said why.
    """
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "descriptors")
        includes = [f"-I{_FOLDER}", f"-I{files('grpc_tools') / '_proto'}"]
        if protoc.main(["protoc", *includes, "--include_imports", f"--descriptor_set_out={target}", *PROTOS]):
            raise RuntimeError(f"cannot compile {', '.join(PROTOS)} in {_FOLDER}")
        return target.read_bytes()


def module_text() -> str:
    """The text of descriptors.py."""
    data = compiled()
    lines = [f"    {data[start : start + 64]!r}\n" for start in range(0, len(data), 64)]
    return _HEAD + "".join(lines) + ")\n"


def main() -> None:
    """Write descriptors.py."""
    (_FOLDER / "descriptors.py").write_text(module_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
