"""What the precision of a model leaves open, settled when its graph is loaded, once for a machine.

`auto` becomes the fastest precision and backend whose answers are those of f32 within the tolerance, on rows of the sample that nothing
was learned from. `int8` becomes the quantized file. Whoever has the graph then, a worker on another machine or a run that goes on,
has exactly that, and tries nothing again.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from motet.errors import MotetError
from motet.graph.model import Model
from motet.graph.places import joined
from motet.models.common import load_error
from motet.models.digest import digest_all
from motet.models.handler import Handler, ModelSource
from motet.models.onnx import OnnxHandler
from motet.models.onnx_precision import OPTIONS, Precision, alternatives, is_quantized, precision_of
from motet.models.onnx_quantize import quantized
from motet.runtime.precision import OPEN
from motet.runtime.precision.kept import KeptPrecisions
from motet.runtime.precision.sample import LEAST_ROWS, PrecisionSample
from motet.runtime.precision.trials import GAIN, Baseline, Trial, refuse_lost
from motet.runtime.sizes import machine
from motet.system.places import temporary_folder
from motet.types import Signature

__all__ = ["settled", "told"]

VERSION = 2
"""Of how it is settled; what another version has settled does not count."""
PLAIN = Precision("f32", "onnxruntime")
_LOG = logging.getLogger("motet.models")
_PACKAGES = ("onnxruntime", "openvino", "onnx")


def settled(model: Model, handler: Handler, source: ModelSource, digest: str, folder: str) -> Model:
    """A model whose precision leaves nothing open; itself where it left nothing.

    Args:
        model: what the graph says of it.
        handler, source, digest: its handler, where it is, and the digest of its files.
        folder: of its graph, which the sample is relative to.

    Raises:
        ModelLoadError: when there is no sample, none that fits, the model cannot be quantized, or what is settled cannot be kept.
    """
    if not isinstance(handler, OnnxHandler):
        return model
    asked = precision_of(source)
    if asked.name not in OPEN or asked.quantized:
        return model
    if is_quantized(handler.onnx_file(source)):
        if asked.name == "auto":
            raise load_error(source, "the model is quantized already, and auto is for models in f32", "leave it out")
        return _with(model, replace(asked, sample=""))
    signature = handler.signature(source)
    sample = None if asked.name == "int8-dynamic" else _sample(source, asked, signature, folder)
    key = _key(source, asked, digest, "" if sample is None else sample.digest)
    kept = KeptPrecisions()
    found = kept.get(key)
    if found is None:
        with kept.alone(key):
            found = kept.get(key) or _settle(handler, source, signature, sample, kept)
            kept.put(key, {**found, "model": found["quantized"] or digest, "at": time.time()})
    return _with(model, _precision(found["options"]))


def told(options: Mapping[str, Any], digest: str) -> list[str]:
    """What was found when a precision was settled, a sentence each; nothing where that is not known.

    Args:
        options: the model's, with what was settled.
        digest: of its files, or its quantized one.
    """
    said = {name: options[name] for name in ("precision", "backend", "quantized") if name in options}
    found = KeptPrecisions().find(digest, said)
    return [] if found is None else list(found["told"])


def _precision(options: Mapping[str, str]) -> Precision:
    """What options say in which nothing is open."""
    if not options:
        return PLAIN
    return Precision(options["precision"], options["backend"], quantized=options.get("quantized", ""))


def _with(model: Model, precision: Precision) -> Model:
    others = {name: value for name, value in model.options.items() if name not in OPTIONS}
    return replace(model, options={**others, **precision.options})


def _sample(source: ModelSource, asked: Precision, signature: Signature, folder: str) -> PrecisionSample:
    if not asked.sample:
        takes = ", ".join(f"{name}: {kind}" for name, kind in signature.inputs.items())
        what = f"precision {asked.name} needs {LEAST_ROWS} rows that the model may meet, and there is no sample"
        raise load_error(
            source, what, f"say with: {{sample: FILE}}, a .npz or .parquet of the model's inputs ({takes})"
        )
    return PrecisionSample.read(joined(folder, asked.sample), signature.inputs)


def _key(source: ModelSource, asked: Precision, digest: str, sample: str) -> str:
    """What tells it from anything that could be settled otherwise; which machine it is matters for what is timed."""
    others = sorted((name, repr(value)) for name, value in source.options.items() if name not in OPTIONS)
    timed = (machine(), source.threads, asked.tolerance) if asked.name == "auto" else ()
    types = [(name, str(kind)) for each in (source.inputs, source.outputs) for name, kind in each.items()]
    parts = (VERSION, asked.name, asked.backend, digest, sample, others, types, timed, list(_versions()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _versions() -> Iterator[str]:
    for package in _PACKAGES:
        try:
            yield f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            yield f"no {package}"


def _settle(
    handler: OnnxHandler,
    source: ModelSource,
    signature: Signature,
    sample: PrecisionSample | None,
    kept: KeptPrecisions,
) -> dict[str, Any]:
    """What is kept of a precision: its options, what to tell of it, and the digest of the quantized file, if it has one."""
    asked = precision_of(source)
    with tempfile.TemporaryDirectory(dir=temporary_folder(), prefix="motet-precision-") as folder:

        def quantize(precision: Precision) -> Precision:
            rows = None if sample is None or precision.name == "int8-dynamic" else sample.learned
            path = Path(folder, f"{precision.name}.onnx")
            if not path.exists():
                path.write_bytes(quantized(source, rows, signature.fixed_rows))
            return replace(precision, quantized=str(path))

        if asked.name == "auto":
            assert sample is not None, "auto has one"
            chosen, lines = _chosen(handler, source, signature, sample, quantize)
        else:
            chosen, lines = quantize(replace(asked, sample="")), []
            if sample is not None:
                refuse_lost(handler, source, chosen, sample.learned)
        digest = digest_all([chosen.quantized]) if chosen.quantized else ""
        if chosen.quantized:
            chosen = replace(chosen, quantized=kept.put_model(Path(chosen.quantized).read_bytes()))
    return {"options": chosen.options, "told": lines, "quantized": digest}


def _chosen(
    handler: OnnxHandler,
    source: ModelSource,
    signature: Signature,
    sample: PrecisionSample,
    quantize: Callable[[Precision], Precision],
) -> tuple[Precision, list[str]]:
    """The fastest of all whose answers are those of f32, and what was found."""
    asked = precision_of(source)
    trials = []
    with closing(Baseline(handler, source, signature, sample)) as exact:
        for each in alternatives(source, signature, handler.onnx_file(source)):
            try:
                tried = quantize(each) if each.name.startswith("int8") else each
            except MotetError as error:
                trials.append(Trial(each, why=error.what))
            else:
                trials.append(exact.compared(tried, asked.tolerance))
    best = _best(trials, asked, source)
    lines = [f"precision auto is {best.precision}: {_of(best)}"]
    lines += [f"precision auto tried {each}" for each in trials if each is not best]
    _LOG.info("%s: %s", source.name, "; ".join(lines))
    return best.precision, lines


def _best(trials: Sequence[Trial], asked: Precision, source: ModelSource) -> Trial:
    """The fastest of those that answer alike; f32 by ONNX Runtime where none is faster by much, and it may be chosen."""
    alike = [each for each in trials if not each.why]
    if asked.backend != "openvino":
        return max(
            (each for each in alike if each.speed >= GAIN), key=lambda each: each.speed, default=Trial(PLAIN, 1.0)
        )
    if not alike:
        reasons = "; ".join(map(str, trials)) or "it has values of 64 bits, or texts"
        raise load_error(source, f"no precision of OpenVINO answers as f32: {reasons}", "leave the backend out")
    return max(alike, key=lambda each: each.speed)


def _of(best: Trial) -> str:
    if best.precision == PLAIN:
        return f"nothing is {GAIN} times as fast and answers alike"
    return f"{best.speed:.2f} times as fast as f32 by ONNX Runtime, off by up to {best.largest:.2g}"
