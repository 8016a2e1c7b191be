"""Loads the three forms of PyTorch files; see `torch.py`."""

from __future__ import annotations

import importlib
import inspect
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from motet.models.common import framework, load_error
from motet.models.handler import ModelSource
from motet.tracebacks import summary

__all__ = ["MemoryFile", "load_file"]


@dataclass
class MemoryFile:
    """A file in memory.

    Attributes:
        model: the module that is called, on the cpu.
        program: the exported program that it came from, None for the other forms.
        parameters: the names that `forward` takes columns by; empty where it does not say.
    """

    model: Any
    program: Any
    parameters: tuple[str, ...]

    def callable_on(self, device: Any) -> Callable[..., Any]:
        """What is called with tensors on `device`, in the order of the inputs."""
        if self.program is None:
            return self.model.to(device)  # type: ignore[no-any-return]
        from torch.export.passes import move_to_device_pass
        from torch.utils import _pytree

        program = self.program if device.type == "cpu" else move_to_device_pass(self.program, device)
        model, form = program.module(), self.program.call_spec.in_spec

        def call(*given: Any) -> Any:
            arguments, keywords = _pytree.tree_unflatten(given, form)
            return model(*arguments, **keywords)

        return call


def load_file(source: ModelSource) -> MemoryFile:
    """Load a file of any of the three forms.

    Raises:
        ModelLoadError: when it is none of them, or its weights do not fit the module.
    """
    torch = framework("torch", "torch", "torch", source)
    if "module" in source.options:
        return _module_with_weights(torch, source)
    if source.location.lower().endswith(".pt2"):
        return _exported(torch, source)
    return _torchscript(torch, source)


def _exported(torch: Any, source: ModelSource) -> MemoryFile:
    try:
        program = torch.export.load(source.location)
    except Exception as error:
        what = f"torch {torch.__version__} cannot load it as an exported program: {summary(error)}"
        raise load_error(
            source, what, "write it with torch.export.save, with this version of torch or an older one"
        ) from error
    return MemoryFile(None, program, ())


def _torchscript(torch: Any, source: ModelSource) -> MemoryFile:
    if not _holds_code(source.location):
        hint = (
            "name the module that the weights are for: with: {module: pkg.mod:Class}; or write torch.export.save's .pt2"
        )
        raise load_error(source, "the file holds no program (neither an exported program nor TorchScript)", hint)
    try:
        model = torch.jit.load(source.location, map_location="cpu").eval()
    except RuntimeError as error:
        what = f"torch {torch.__version__} cannot load it as TorchScript: {error}"
        raise load_error(source, what, "write it again with torch.export.save, as a .pt2 file") from error
    names = [argument.name for argument in model.forward.schema.arguments]
    return MemoryFile(model, None, tuple(name for name in names if name != "self"))


def _holds_code(path: str) -> bool:
    """Whether a file is a TorchScript archive: those have a folder `code` and `constants.pkl`."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _module_with_weights(torch: Any, source: ModelSource) -> MemoryFile:
    model = _made(torch, source)
    weights = _weights(torch, source)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        hint = f"the module is {source.options['module']}; check its kwargs, and the weights_key"
        raise load_error(source, f"the weights do not fit the module: {error}", hint) from error
    found = inspect.signature(model.forward).parameters.values()
    names = [item.name for item in found if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
    return MemoryFile(model.eval(), None, tuple(names))


def _made(torch: Any, source: ModelSource) -> Any:
    """The module, made with its keywords."""
    path = str(source.options["module"])
    module_name, _, name = path.partition(":")
    try:
        kind = getattr(importlib.import_module(module_name), name)
        model = kind(**source.options.get("kwargs", {}))
    except Exception as error:
        what = f"the module {path} cannot be made: {summary(error)}"
        raise load_error(source, what, "write with: {module: pkg.mod:Class, kwargs: {...}}") from error
    if not isinstance(model, torch.nn.Module):
        raise load_error(source, f"{path} gives a {type(model).__name__}", "name a class of torch.nn.Module")
    return model


def _weights(torch: Any, source: ModelSource) -> Mapping[str, Any]:
    found = _read_weights(torch, source)
    key = source.options.get("weights_key")
    if key is not None:
        if not isinstance(found, Mapping) or key not in found:
            has = ", ".join(map(str, found)) if isinstance(found, Mapping) else f"a {type(found).__name__}"
            raise load_error(source, f"the file has no {key!r}; it has {has}", "name one of those as weights_key")
        found = found[key]
    if not isinstance(found, Mapping):
        raise load_error(source, f"the file holds a {type(found).__name__}, not weights", "save model.state_dict()")
    return found


def _read_weights(torch: Any, source: ModelSource) -> Any:
    load = partial(torch.load, map_location="cpu", weights_only=True)
    if source.location.lower().endswith(".safetensors"):
        load = framework("safetensors.torch", "safetensors", "torch", source).load_file
    try:
        return load(source.location)
    except MemoryError:
        raise
    except pickle.UnpicklingError as error:
        what = "the file holds more than weights (a whole pickled model runs code, which is not done)"
        raise load_error(source, what, "save the weights alone: torch.save(model.state_dict(), path)") from error
    except Exception as error:
        raise load_error(source, f"the weights cannot be read: {summary(error)}", "save the weights again") from error
