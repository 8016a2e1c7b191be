"""`step`: a function whose calls a workflow wires, and whose result can be kept."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Event
from types import FunctionType, MethodType
from typing import Any, Generic, ParamSpec, TypeVar, overload

from motet.errors import GraphError, InputError
from motet.workflow.functions import FunctionWrapper, place_of
from motet.workflow.options import StepOptions, StepResources, read_duration_s, read_memory_bytes
from motet.workflow.policies import CachePolicy, Rule, read_policy
from motet.workflow.wiring import building

__all__ = ["Step", "StepContext", "current_step", "step"]

P = ParamSpec("P")
R = TypeVar("R")
_PLAIN = StepOptions()


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a running step can ask about itself.

    Attributes:
        run: the id of the run.
        step: the id of the step.
        attempt: tries before this one.
        resources: what it asked for.
        cancelled: set when the run is to end; a long step may look at it.
    """

    run: str
    step: str
    attempt: int
    resources: StepResources
    cancelled: Event


_running: ContextVar[StepContext | None] = ContextVar("motet_running_step", default=None)


def current_step() -> StepContext | None:
    """What runs in this thread; None outside of a run."""
    return _running.get()


class Step(FunctionWrapper, Generic[P, R]):
    """A function as a step of workflows. Made by `step`; not to be changed.

    Called while a workflow is wired, it gives a `Deferred` and runs later; called anywhere else it is the plain
    function.

    Attributes:
        function: the function itself.
        options: how it is run.
        policy: when its result is kept and taken again; None never keeps it beyond the run.
        name: what its steps are called.
        signature: what it takes.
        own_process: whether it runs in a process of its own.
        place: the function by name, file and line.
    """

    function: Callable[P, R]

    def __init__(
        self, function: Callable[P, R], options: StepOptions = _PLAIN, policy: CachePolicy | None = None, name: str = ""
    ) -> None:
        if not callable(function):
            raise InputError(f"a step is a function; got {function!r}", where="@step")
        for kind, told in ((inspect.iscoroutinefunction, "async"), (inspect.isgeneratorfunction, "a generator")):
            if kind(function):
                raise InputError(f"the function is {told}", where=place_of(function), hint="a step returns its result")
        self.function, self.options, self.policy = function, options, policy
        self.name = name or getattr(function, "__name__", type(function).__name__).strip("<>")
        self.signature = _signature(function)
        self.own_process = options.own_process
        kinds = {each.kind for each in self.signature.parameters.values()}
        self._by_name = kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
        self._takes_names = self._by_name and _takes_names(function, self.signature)
        self._names = tuple(self.signature.parameters)
        self._is_python = _is_python(function)
        self._num_positional = sum(
            each.kind is each.POSITIONAL_OR_KEYWORD for each in self.signature.parameters.values()
        )
        self._defaults = {
            each.name: each.default for each in self.signature.parameters.values() if each.default is not each.empty
        }
        self.place = place_of(function)
        if policy is not None:
            policy.check(self.signature, self.place)
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Wire a step while a workflow is wired, else call the function."""
        wiring = building()
        if wiring is None:
            return self.function(*args, **kwargs)
        return wiring.add(self, args, kwargs)  # type: ignore[return-value]

    def __get__(self, instance: object, owner: type | None = None) -> Step[P, R]:
        if instance is None:
            return self
        raise GraphError(
            f"{self.name} is a method", where=place_of(self.function), hint="a step is a plain function, without self"
        )

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arguments by parameter, with the defaults. Raises TypeError where it cannot be called so."""
        if (
            self._by_name and self._is_python and len(args) <= self._num_positional
        ):  # what `Signature.bind` does, several times faster
            found = dict(zip(self._names, args, strict=False))
            if not found.keys() & kwargs.keys():
                given = self._defaults | kwargs
                found |= {name: given[name] for name in self._names[len(args) :] if name in given}
                if len(found) == len(self._names) and kwargs.keys() <= found.keys():
                    return found
        bound = self.signature.bind(*args, **kwargs)
        if self._is_python:
            bound.apply_defaults()
        return dict(bound.arguments)

    def call(self, arguments: dict[str, Any]) -> R:
        """Call the function with arguments by parameter."""
        if self._takes_names:
            return self.function(**arguments)  # type: ignore[call-arg]
        bound = self.signature.bind_partial()
        bound.arguments.update(arguments)
        return self.function(*bound.args, **bound.kwargs)

    def named(self, name: str) -> Step[P, R]:
        """The same step under another name, for runs and drawings; what is kept of it stays the same."""
        return Step(self.function, self.options, self.policy, name)

    def __repr__(self) -> str:
        return f"<step {self.name} ({place_of(self.function)})>"


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...


@overload
def step(
    *,
    cache: bool | Rule | Sequence[Rule] = False,
    max_age: str | float | None = None,
    retries: int = 0,
    backoff_s: float = 1.0,
    timeout_s: float | None = None,
    cpu: float = 0,
    memory: str | int = 0,
    accelerator: int = 0,
    workers: int = 1,
    process: bool | None = None,
    name: str = "",
) -> Callable[[Callable[P, R]], Step[P, R]]: ...


def step(
    function: Callable[P, R] | None = None,
    /,
    *,
    cache: bool | Rule | Sequence[Rule] = False,
    max_age: str | float | None = None,
    retries: int = 0,
    backoff_s: float = 1.0,
    timeout_s: float | None = None,
    cpu: float = 0,
    memory: str | int = 0,
    accelerator: int = 0,
    workers: int = 1,
    process: bool | None = None,
    name: str = "",
) -> Any:
    """Make a function a step.

        @motet.step
        def clean(rows): ...

        @motet.step(cache=True, max_age="14d", retries=2, cpu=2, memory="2GiB")
        def train(kind, rows, epochs=3): ...

    Args:
        function: a plain function; what it is given and what it returns are values that can be written to files.
        cache: whether its result is kept for later runs: False, True (by content: code, parameters, inputs, files,
            versions of packages), a rule (`when_changed`, `while_at_least`), or several of which all must hold.
        max_age: how long a result is kept, as `"14d"` or seconds; counts from its making.
        retries: how often it is tried again after an error, a timeout, or the end of its process.
        backoff_s: seconds before the first new try; they double each time.
        timeout_s: seconds that a try may take. It runs in a process of its own, which is ended then.
        cpu: cores that it needs. A step that asks for resources runs in a process of its own.
        memory: memory that it needs, in bytes or as `"2GiB"`.
        accelerator: accelerators that it needs.
        workers: processes that it starts itself, each with these resources.
        process: whether it runs in a process of its own, whatever it asks for. False also says that it may share seeds,
            working directory, environment and options of libraries with steps that run beside it.
        name: what it is called in runs; the function's name by default.

    Raises:
        InputError: when a setting cannot be.
    """
    options = StepOptions(
        retries,
        backoff_s,
        timeout_s,
        StepResources(cpu, read_memory_bytes(memory, "step, memory"), accelerator, workers),
        process,
    )
    age_s = None if max_age is None else read_duration_s(max_age, "step, max_age")
    policy = read_policy(cache, age_s)

    def make(function: Callable[P, R]) -> Step[P, R]:
        return Step(function, options, policy, name)

    return make if function is None else make(function)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        raise InputError(
            f"nothing says what {function!r} takes", where="@step", hint="write a function that calls it"
        ) from None


def _takes_names(function: Callable[..., Any], signature: inspect.Signature) -> bool:
    """Whether a function takes its arguments by their names: what a decorator has put around it may take them in order alone.

    Raises:
        InputError: when it takes them in neither way.
    """
    if not hasattr(function, "__wrapped__"):
        return True
    try:
        own = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # a compiled one, such as that of functools.cache
        return True
    names = dict.fromkeys(signature.parameters)
    in_order = [name for name, each in signature.parameters.items() if each.kind is each.POSITIONAL_OR_KEYWORD]
    by_name = {name: None for name in names if name not in in_order}
    with suppress(TypeError):
        own.bind(**names)
        return True
    try:
        own.bind(*in_order, **by_name)
    except TypeError as error:
        raise InputError(
            f"a decorator shows the parameters {signature}, and cannot be called with them: {error}",
            where=place_of(function),
            hint="let what it puts around the function take (*args, **kwargs)",
        ) from None
    return False


def _is_python(function: Any) -> bool:
    """Whether the defaults of a function can be given to it: those that compiled ones show are not always meant so."""
    plain = inspect.unwrap(function)
    kinds = (FunctionType, MethodType, functools.partial, type)
    return isinstance(plain, kinds) or hasattr(type(plain).__call__, "__code__")
