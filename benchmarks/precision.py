"""What `precision: auto` of ONNX models chooses, and what that is worth: `python -m benchmarks.precision`.

    choice      for each model what was tried on a sample: times as fast as float32 by ONNX Runtime, and the largest difference
    agreement   on rows that are not in the sample: labels as in float32, and accuracy of both where there are labels
    bulk        60,000 pictures through the ensemble of three, Parquet to Parquet, against the loop by hand in float32

Models are those of examples/fashion, and with `--photos` EfficientNet-Lite 0 to 2 of examples/photos, exported to ONNX, whose sample is
made of parts of four photographs. Everything runs in one process, the bulk jobs in turns.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import motet as mt
from benchmarks.jobs import FASHION, JOBS, MODELS, WEIGHTS, images_file
from benchmarks.loops import run_loop2
from benchmarks.tables import ratio, shown, spread, table
from motet.runtime.precision.settle import told

__all__ = ["main"]

SAMPLE_ROWS: Final = 2000
PHOTOS: Final = FASHION.parent / "photos"
LITE: Final[Mapping[str, tuple[float, float, int]]] = {
    "lite0": (1.0, 1.0, 224), "lite1": (1.0, 1.1, 240), "lite2": (1.1, 1.2, 260),
}  # fmt: skip
PHOTO_ROWS: Final = 160


def one(path: str, kind: str, output: str, **options: Any) -> mt.Graph:
    """A graph of one model."""
    seen = mt.model(mt.Model(path, "m", options=options), mt.input("image", kind))
    return mt.Graph("one", {"p": getattr(seen, output)})


def compared(
    name: str, path: str, kind: str, output: str, sample: Path, rows: Any, truth: Any, tolerance: float
) -> None:
    """Choose, print what was tried, and hold the choice to float32 on rows that are not in the sample."""
    began = time.perf_counter()
    quick = one(path, kind, output, precision="auto", sample=str(sample), tolerance=tolerance)
    seconds = time.perf_counter() - began
    model = quick.checked.graph.models["m"]
    digest = quick.executor.host.resolver.locate(model, "").digest
    print(f"{name}, chosen in {seconds:.1f} s", *told(model.options, digest), sep="\n  ")
    exact, found = one(path, kind, output)({"image": rows})["p"], quick({"image": rows})["p"]
    alike = exact.argmax(axis=1) == found.argmax(axis=1)
    right = [] if truth is None else [f"{100 * (each.argmax(axis=1) == truth).mean():.2f} %" for each in (exact, found)]
    print(
        f"  labels as in f32: {100 * alike.mean():.2f} % of {len(rows)}; accuracy: {', '.join(right) or '-'}\n",
        flush=True,
    )


def ensemble(sample: Path, tolerance: float) -> mt.Graph:
    """The ensemble of benchmarks.jobs, each model in its own precision."""
    options = {"precision": "auto", "sample": str(sample), "tolerance": tolerance}
    pixels = mt.map(mt.ops.image.scale, mt.input("image", "uint8[28,28]"), by=255)
    members = [mt.Model(path, name, options=options) for name, path in MODELS.items()]
    top = mt.map(mt.ops.scores.top1, mt.ensemble(members, pixels, weights=[WEIGHTS[name] for name in MODELS]))
    return mt.Graph("vote", outputs={"label": top.index, "score": top.score})


def bulk(folder: Path, sample: Path, tolerance: float, rounds: int) -> None:
    """Both in turns, and how many labels are the same."""
    rows, graph = images_file(folder, "tensor"), ensemble(sample, tolerance)
    ours, theirs = folder / "ours.parquet", folder / "loop.parquet"
    seconds: dict[str, list[float]] = {"motet": [], "loop": []}
    for _ in range(rounds):
        began = time.perf_counter()
        graph.run(str(rows), ours, keep=["id"], overwrite=True)
        between = time.perf_counter()
        run_loop2(JOBS["ensemble"], [str(rows)], str(theirs))
        seconds["motet"].append(between - began)
        seconds["loop"].append(time.perf_counter() - between)
    labels = [pq.read_table(path)["label"].to_numpy() for path in (ours, theirs)]
    lines = [[name, shown(spread(each), ".2f"), f"{len(labels[0]) / min(each):,.0f}"] for name, each in seconds.items()]
    print(table(["ensemble in bulk", "seconds", "rows/s at best"], lines))
    print(f"times as fast as the loop in f32: {shown(ratio(seconds['motet'], seconds['loop']), '.2f')}")
    print(f"labels as the loop's: {100 * (labels[0] == labels[1]).mean():.2f} %\n", flush=True)


def fashion(folder: Path, tolerance: float, rounds: int) -> None:
    """The three models of Fashion-MNIST."""
    sys.path.insert(0, str(FASHION))
    from data import load  # type: ignore[import-not-found]

    pictures, truth = load("test")[:2]
    pixels = np.asarray(pictures).reshape(-1, 28, 28) * np.float32(1 / 255)
    sample = folder / "pixels.npz"
    np.savez(sample, image=pixels[:SAMPLE_ROWS])
    for name, path in MODELS.items():
        rest = pixels[SAMPLE_ROWS:], np.asarray(truth)[SAMPLE_ROWS:]
        compared(name, path, "float32[28,28]", "probabilities", sample, *rest, tolerance)
    bulk(folder, sample, tolerance, rounds)


def photos(folder: Path, tolerance: float, names: list[str]) -> None:
    """Networks of ImageNet; half of the parts of photographs are the sample."""
    import torch
    from PIL import Image

    sys.path.insert(0, str(PHOTOS))
    from lite import Lite  # type: ignore[import-not-found]
    from photo_files import fetch  # type: ignore[import-not-found]

    pictures = [Image.open(path).convert("RGB") for path in fetch()]
    for name in names:
        width, depth, size = LITE[name]
        net = torch.nn.Sequential(Lite(width=width, depth=depth), torch.nn.Softmax(dim=1))
        net[0].load_state_dict(torch.load(PHOTOS / "models" / f"{name}.pth", weights_only=True))
        path = folder / f"{name}.onnx"
        given = (torch.zeros(2, 3, size, size),)
        with contextlib.redirect_stdout(None):
            torch.onnx.export(
                net.eval(), given, str(path), input_names=["image"], output_names=["p"], external_data=False,
                dynamic_shapes=({0: torch.export.Dim("n")},), dynamo=True,
            )  # fmt: skip
        parts = np.stack([_part(pictures[place % len(pictures)], place, size) for place in range(2 * PHOTO_ROWS)])
        np.savez(folder / f"{name}.npz", image=parts[:PHOTO_ROWS])
        kind = f"float32[3,{size},{size}]"
        compared(name, str(path), kind, "p", folder / f"{name}.npz", parts[PHOTO_ROWS:], None, tolerance)


def _part(picture: Any, seed: int, size: int) -> Any:
    """A part of a photograph, at least half as long and wide, as the networks take it."""
    random = np.random.default_rng(seed)
    side = int(min(picture.size) * random.uniform(0.5, 1.0))
    left, top = (int(random.integers(0, length - side + 1)) for length in picture.size)
    shown_part = picture.resize((size, size), 2, (left, top, left + side, top + side))
    return ((np.asarray(shown_part, np.float32) - 127) / 128).transpose(2, 0, 1)


@click.command()
@click.option(
    "--tolerance", default=0.02, show_default=True, help="How far probabilities may be from those of float32."
)
@click.option("--rounds", default=5, show_default=True, help="How often each does the bulk job.")
@click.option("--photos", "names", multiple=True, type=click.Choice([*LITE]), help="Networks of ImageNet to try, too.")
@click.option(
    "--cache", type=click.Path(path_type=Path), help="Where the pictures are kept.  [default: a temporary folder]"
)
def main(tolerance: float, rounds: int, names: tuple[str, ...], cache: Path | None) -> None:
    """Choose precisions, and print what they are worth."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = cache or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(pa.cpu_count(), "cores; tolerance", tolerance, end="\n\n")
        fashion(folder, tolerance, rounds)
        if names:
            photos(folder, tolerance, list(names))


if __name__ == "__main__":
    main()
