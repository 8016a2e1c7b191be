"""From the vectors of a text's tokens to one of the text, as sentence-transformers does it: on arrays of numpy and of torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from motet.errors import UnknownNameError
from motet.models.common import framework, load_error, place
from motet.models.handler import ModelSource
from motet.models.huggingface.folder import TextFolder
from motet.tracebacks import summary

__all__ = ["POOLINGS", "Pooling", "embedding_width", "read_pooling"]

POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""In the order in which sentence-transformers puts several side by side."""
_LEGACY = {
    "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max", "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}  # fmt: skip
_MODULES = ("Transformer", "Pooling", "Dense", "Normalize", "Dropout")
_ACTIVATIONS = {"torch.nn.modules.linear.Identity": "identity", "torch.nn.modules.activation.Tanh": "tanh"}
_LEAST = 1e-12
"""What a vector's length is at least, by which it is divided, as in torch."""


@dataclass(frozen=True)
class _Dense:
    """A layer behind the pooling: weights `[out, in]`, bias `[out]`, and what is done to what comes out."""

    weight: Any
    bias: Any
    activation: str


@dataclass(frozen=True)
class Pooling:
    """What is done to the vectors of tokens, in order.

    Attributes:
        modes: of `POOLINGS`, put side by side.
        steps: what comes behind it: layers, and `normalize`.
        skips_prompt: whether the tokens of the prompt are left out.
        dimensions: how many numbers are kept of each vector, the first ones; None for all.
        normalize: whether what is kept is made of length 1 in the end.
    """

    modes: tuple[str, ...]
    steps: tuple[_Dense | str, ...] = ()
    skips_prompt: bool = False
    dimensions: int | None = None
    normalize: bool = False

    def on(self, tensor: Callable[[Any], Any]) -> Pooling:
        """The same with its weights where the network is.

        Args:
            tensor: puts an array there.
        """
        steps = [
            each if isinstance(each, str) else _Dense(tensor(each.weight), tensor(each.bias), each.activation)
            for each in self.steps
        ]
        return Pooling(self.modes, tuple(steps), self.skips_prompt, self.dimensions, self.normalize)

    def __call__(self, vectors: Any, mask: Any, xp: Any) -> Any:
        """One vector a text, `[rows, width]`.

        Args:
            vectors: of tokens, `[rows, tokens, width]`, padding behind them.
            mask: 1 where a token counts, `[rows, tokens]`, of the vectors' dtype.
            xp: numpy or torch.
        """
        parts = [_pooled(mode, vectors, mask, xp) for mode in self.modes]
        return self.finish(parts[0] if len(parts) == 1 else xp.concatenate(parts, 1), xp)

    def finish(self, found: Any, xp: Any) -> Any:
        """What comes behind the pooling, on vectors of texts `[rows, width]`."""
        for step in self.steps:
            found = _unit(found) if isinstance(step, str) else _through(step, found, xp)
        found = found if self.dimensions is None else found[:, : self.dimensions]
        return _unit(found) if self.normalize else found


def _pooled(mode: str, vectors: Any, mask: Any, xp: Any) -> Any:
    places = xp.ones_like(mask).cumsum(1)
    if mode == "max":
        return xp.amax(xp.where(mask[:, :, None] > 0, vectors, -float("inf")), 1)
    if mode in ("cls", "lasttoken"):
        place = xp.argmax(mask if mode == "cls" else mask * places, 1) + 1
        return (vectors * (places == place[:, None])[:, :, None]).sum(1)
    weights = mask[:, :, None] if mode != "weightedmean" else (mask * places)[:, :, None]
    total = (vectors * weights).sum(1)
    number = weights.sum(1).clip(1e-9)
    return total / (number**0.5 if mode == "mean_sqrt_len_tokens" else number)


def _unit(vectors: Any) -> Any:
    return vectors / ((vectors * vectors).sum(1)[:, None] ** 0.5).clip(_LEAST)


def _through(layer: _Dense, vectors: Any, xp: Any) -> Any:
    found = vectors @ layer.weight.T
    found = found if layer.bias is None else found + layer.bias
    return xp.tanh(found) if layer.activation == "tanh" else found


def embedding_width(folder: TextFolder, source: ModelSource) -> int | None:
    """How many numbers a text's vector has; None where neither the folder nor `dimensions` says it.

    Raises:
        ModelLoadError: when the folder has modules that are not known here, or an option is none.
    """
    modes, width = _modes(folder, source), folder.width
    pooled = None if width is None else width * len(modes)
    for kind, _, config in folder.modules:
        if kind == "Dense" and isinstance(config.get("out_features"), int):
            pooled = int(config["out_features"])
    kept = _dimensions(folder, source)
    sizes = [size for size in (pooled, kept) if size is not None]
    return min(sizes) if sizes else None


def _dimensions(folder: TextFolder, source: ModelSource) -> int | None:
    said = source.options.get("dimensions", folder.sentence.get("truncate_dim"))
    if said is not None and (isinstance(said, bool) or not isinstance(said, int) or said < 1):
        raise load_error(source, f"dimensions is a whole number above 0; got {said!r}")
    return said


def _modes(folder: TextFolder, source: ModelSource) -> tuple[str, ...]:
    """How vectors of tokens become one: as it is said here, else there, else their mean, as sentence-transformers takes it."""
    for kind, _, _ in folder.modules:
        if kind not in _MODULES:
            what = f"its module {kind} of sentence-transformers is not known here"
            raise load_error(source, what, f"models of {', '.join(_MODULES)} are")
    said = source.options.get("pooling")
    if said is not None:
        if said not in POOLINGS:
            raise UnknownNameError("pooling", str(said), POOLINGS, where=place(source))
        return (str(said),)
    config = next((config for kind, _, config in folder.modules if kind == "Pooling"), {})
    named = config.get("pooling_mode") or [mode for key, mode in _LEGACY.items() if config.get(key)]
    modes = (named,) if isinstance(named, str) else tuple(named)
    if unknown := [mode for mode in modes if mode not in POOLINGS]:
        raise UnknownNameError("pooling", str(unknown[0]), POOLINGS, where=place(source))
    causal = folder.architecture.endswith("ForCausalLM") and folder.config.get("is_causal", True)
    return modes or ("lasttoken" if causal else "mean",)


def read_pooling(folder: TextFolder, source: ModelSource) -> Pooling:
    """What is done to vectors of tokens, with the weights that belong to it.

    Raises:
        ModelLoadError: when it is not known here, or weights cannot be read.
    """
    modes = _modes(folder, source)
    steps: list[_Dense | str] = []
    for kind, where, config in folder.modules:
        if kind == "Dense":
            steps.append(_dense(folder, where, config, source))
        elif kind == "Normalize":
            steps.append("normalize")
    unit = source.options.get("normalize", False)
    if not isinstance(unit, bool):
        raise load_error(source, f"normalize is true or false; got {unit!r}")
    config = next((config for kind, _, config in folder.modules if kind == "Pooling"), {})
    skips = config.get("include_prompt", True) is False
    return Pooling(modes, tuple(steps), skips, _dimensions(folder, source), unit)


def _dense(folder: TextFolder, where: str, config: Mapping[str, Any], source: ModelSource) -> _Dense:
    activation = _ACTIVATIONS.get(str(config.get("activation_function", "torch.nn.modules.activation.Tanh")))
    if activation is None or config.get("use_residual") or config.get("module_input_name", _IN) != _IN:
        what = f"the layer {where} does what is not known here: {dict(config)}"
        raise load_error(source, what, f"layers with {' or '.join(_ACTIVATIONS)} are")
    read: Callable[[str], Mapping[str, Any]] = framework(
        "safetensors.numpy", "safetensors", "huggingface", source
    ).load_file
    try:
        weights = read(os.path.join(folder.path, where, "model.safetensors"))
        return _Dense(weights["linear.weight"], weights.get("linear.bias"), activation)
    except Exception as error:
        hint = "write the model again by model.save(folder), with a newer sentence-transformers"
        raise load_error(source, f"the weights of {where} cannot be read: {summary(error)}", hint) from error


_IN = "sentence_embedding"
