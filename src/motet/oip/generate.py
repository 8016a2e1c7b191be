"""Compile .proto files into a descriptors.binpb beside them; needs grpcio-tools.

    python -m motet.oip.generate                      those beside this module
    python -m motet.oip.generate src/motet/models/tfs     those of a folder

Only the descriptors are kept, not classes: these are built in a pool of their own (see messages.py).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["compiled", "main"]

PROTOS = ("inference.proto", "health.proto", "status.proto", "reflection.proto")
_FOLDER = Path(__file__).parent


def compiled(folder: Path = _FOLDER) -> bytes:
    """A serialized `FileDescriptorSet` of the .proto files of a folder and what they import.

    Raises:
        RuntimeError: when a file cannot be compiled; the compiler has said why.
    """
    protos = PROTOS if folder == _FOLDER else tuple(sorted(each.name for each in folder.glob("*.proto")))
    with tempfile.TemporaryDirectory() as made:
        target = Path(made, "descriptors")
        # In a process of its own: protobuf's parts in it and in TensorFlow do not bear each other.
        compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", "--include_imports"]
        if subprocess.run([*compiler, f"--descriptor_set_out={target}", *protos], check=False).returncode:
            raise RuntimeError(f"cannot compile {', '.join(protos)} in {folder}")
        return target.read_bytes()


def main() -> None:
    """Write the descriptors.binpb of the folder that is named."""
    folder = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else _FOLDER
    (folder / "descriptors.binpb").write_bytes(compiled(folder))


if __name__ == "__main__":
    main()
