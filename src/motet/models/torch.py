"""PyTorch models, in three forms:

    model.pt2                        an exported program (torch.export.save); says itself what it takes and gives
    model.pt                         TorchScript (torch.jit.save)
    weights.pth, .pt, .safetensors   weights for a module that is named by its import path

Options:

    module       pkg.mod:Class, the module that the weights are for
    kwargs       what it is made with
    weights_key  where the weights are, in a checkpoint that holds more
    copy_inputs  true gives the model copies of its inputs, which it may then change

Inputs are given in the order of the declared ones (of the parameters of `forward`, where the names are the same);
outputs are a dict by name, or values in the order of the declared ones. Weights are loaded with weights_only=True, so
they carry no code; exported programs and TorchScript may do what any program may.

Outputs are copied, since a model may give a buffer of its own. Inputs are not copied on the cpu. Whether a model writes to
them is seen at its first call, which gets copies; then one that does so always gets copies. `torch.set_num_threads` is
what the model may use while a call runs, and what the program has set otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from motet.batch import Array
from motet.errors import ModelFailedError, UnknownNameError
from motet.locks import new_lock
from motet.models.common import check_options, framework, load_error, place, raise_memory_error
from motet.models.handler import Handler, LoadedModel, ModelSource
from motet.models.independence import one_row_a_call_if_needed
from motet.models.keep import LoadCache
from motet.models.results import by_name
from motet.models.torch_load import MemoryFile, load_file
from motet.models.torch_signature import loaded_signature
from motet.types import Signature

__all__ = ["OUT_OF_MEMORY", "TorchHandler", "TorchModel", "torch_device", "torch_threads"]

_OPTIONS = ("module", "kwargs", "weights_key", "copy_inputs")
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "ALLOC_FAILED")


class _Threads:
    """The number of threads that torch uses, which is the program's again when no call runs.

    torch keeps it for each thread that calls, and for threads that come later that of the last one who set it: a thread that
    came while a call ran, and has its number, gets that of the program.
    """

    def __init__(self) -> None:
        self._lock, self._running, self._before = new_lock(), 0, 0

    @contextmanager
    def of(self, torch: Any, threads: int) -> Iterator[None]:
        """A call of this thread meanwhile uses so many."""
        own = torch.get_num_threads()
        with self._lock:
            alone = not self._running
            if alone:
                self._before = own
            self._running += 1
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                torch.set_num_threads(own if alone or own != threads else self._before)


torch_threads = _Threads()
"""Shared by all that call torch."""


class TorchHandler(Handler):
    """Loads `.pt2`, `.pt`, `.pth` and `.safetensors` files."""

    name: ClassVar[str] = "torch"
    extra: ClassVar[str] = "torch"
    suffixes: ClassVar[tuple[str, ...]] = (".pt2", ".pt", ".pth", ".safetensors")
    safe_suffixes: ClassVar[tuple[str, ...]] = (".pth", ".safetensors")
    """Suffixes of files that carry no code."""
    runs_code: ClassVar[bool] = True

    def __init__(self) -> None:
        self._kept: LoadCache[MemoryFile] = LoadCache(load_file)

    def signature(self, source: ModelSource) -> Signature:
        """What the program says or what is declared; loads it, and keeps it for `load`.

        Raises:
            ModelLoadError: when the file is no such model, or does not fit its module.
        """
        check_options(source, _OPTIONS)
        framework("torch", "torch", "torch", source)
        return loaded_signature(self._kept.look(source), source)

    def load(self, source: ModelSource) -> LoadedModel:
        """Load it for use, and see whether rows that share a call answer as they do alone; see `Handler.load`."""
        check_options(source, _OPTIONS)
        torch = framework("torch", "torch", "torch", source)
        device = torch_device(torch, source)
        loaded = self._kept.take(source)
        signature = loaded_signature(loaded, source)
        model = TorchModel(torch, loaded.callable_on(device), signature, source, device)
        return one_row_a_call_if_needed(model, signature, place(source))


class TorchModel:
    """A model in evaluation and inference mode; several threads may call it."""

    fresh_outputs = True

    def __init__(
        self, torch: Any, function: Callable[..., Any], signature: Signature, source: ModelSource, device: Any
    ) -> None:
        self._torch, self._device, self._where = torch, device, place(source)
        self._function: Any = function
        self._inputs, self._outputs = tuple(signature.inputs), tuple(signature.outputs)
        self._on_cpu, self._threads = device.type == "cpu", source.threads
        self._copies = bool(source.options.get("copy_inputs")) if "copy_inputs" in source.options else None

    def __call__(self, columns: Mapping[str, Array]) -> dict[str, Any]:
        """Answer a batch; see `LoadedModel`.

        Raises:
            MemoryError: when the batch is too large for the memory.
            ModelFailedError: when it starts to write to its inputs after its first call.
        """
        given = [self._tensor(columns[name]) for name in self._inputs]
        try:
            with self._torch.inference_mode(), torch_threads.of(self._torch, self._threads):
                answers = self._function(*given)
        except Exception as error:
            raise_memory_error(error, OUT_OF_MEMORY)
            raise
        if self._copies is not True and self._on_cpu:
            self._watch(given)
        outputs = by_name(answers, self._outputs, self._where)
        return {name: self._array(value) for name, value in outputs.items()}

    def close(self) -> None:
        """Let go of the model, and of the device memory that torch keeps for it."""
        self._function = None
        if not self._on_cpu:
            self._torch.cuda.empty_cache()

    def _tensor(self, column: Array) -> Any:
        copies = self._on_cpu and (self._copies is not False or not column.flags.writeable)
        array = np.array(column, order="C") if copies else np.ascontiguousarray(column)
        if not array.flags.writeable:
            array = array.copy()
        tensor = self._torch.from_numpy(array)
        return tensor if self._on_cpu else tensor.to(self._device)

    def _watch(self, given: list[Any]) -> None:
        """Learn at the first call whether the model writes to its inputs; torch counts the writes to a tensor."""
        writes = any(tensor._version for tensor in given)
        if writes and self._copies is False:
            raise ModelFailedError(
                "it changed its inputs, which it did not do at its first call",
                where=self._where,
                hint="say `with: {copy_inputs: true}`; the inputs of this batch are damaged",
            )
        self._copies = writes

    def _array(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [self._array(item) for item in value]
        if not isinstance(value, self._torch.Tensor):
            return value
        tensor = value.detach().cpu()
        return np.array((tensor.float() if tensor.dtype == self._torch.bfloat16 else tensor).numpy())


def torch_device(torch: Any, source: ModelSource) -> Any:
    """The device that a source names.

    Raises:
        UnknownNameError: when it is no name of one.
        ModelLoadError: when it is not there.
    """
    kind, _, number = source.device.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise UnknownNameError("device", source.device, ("cpu", "cuda", "cuda:N"), where=place(source))
    present = torch.cuda.device_count() if kind == "cuda" else 1
    if int(number or 0) >= present:
        what = f"there is no device {source.device!r}; torch {torch.__version__} sees {present} CUDA devices"
        raise load_error(source, what, "use device cpu, or a torch build and a driver for CUDA")
    return torch.device(source.device)
