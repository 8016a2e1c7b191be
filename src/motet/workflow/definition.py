"""`workflow`: a function that wires steps; what it gives when called is a plan (plan.py), which can be run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, overload

from motet.errors import GraphError
from motet.workflow.deferred import copied, hidden_in, nodes_of
from motet.workflow.functions import FunctionWrapper, place_of
from motet.workflow.plan import Plan
from motet.workflow.steps import AsReady, refuse_cycles
from motet.workflow.wiring import building, hides_ready, wired

__all__ = ["Workflow", "workflow"]

P = ParamSpec("P")


class Workflow(FunctionWrapper, Generic[P]):
    """A function that wires steps. Made by `workflow`.

    Attributes:
        function: the function itself.
        name: the name of the workflow.
    """

    function: Callable[P, Any]

    def __init__(self, function: Callable[P, Any], name: str = "") -> None:
        if not callable(function):
            raise GraphError(f"a workflow is a function; got {function!r}", where="@workflow")
        self.function = function
        self.name = name or function.__name__
        self.signature = inspect.signature(function)
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Plan:
        """Wire the steps: a `Plan`, or, inside of another workflow, what the function returns (which its type does not say).

        Raises:
            GraphError: when a parameter is missing or unknown, or the steps cannot be wired.
        """
        arguments = self._bind(args, kwargs)
        outer = building()
        if outer is not None:
            with outer.inside(self):
                inside: Any = self.function(*arguments.args, **arguments.kwargs)
                return inside  # type: ignore[no-any-return]
        with wired(self.name) as wiring, wiring.inside(self):
            output = self.function(*arguments.args, **arguments.kwargs)
        output = copied(output)
        if isinstance(output, AsReady) or hides_ready(output) or hidden_in(output) is not None:
            raise GraphError(
                "the workflow returns as_ready(...), or promises in something else than lists, tuples and dicts",
                where=place_of(self.function),
                hint="return promises, alone or in lists, tuples and dicts",
            )
        for node in nodes_of(output):
            wiring.check(node, f"what {self.name} returns")
        for node in wiring.nodes:
            for other in node.after:
                wiring.check(other, node.id)
        refuse_cycles(wiring.nodes, place_of(self.function))
        file = getattr(inspect.unwrap(self.function), "__code__", None)
        return Plan(self.name, dict(arguments.arguments), wiring.nodes, output, file.co_filename if file else "")

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise GraphError(
                f"workflow {self.name} cannot be called so: {error}",
                where=place_of(self.function),
                hint=f"it takes {self.signature}",
            ) from None
        bound.apply_defaults()
        return bound

    def __repr__(self) -> str:
        return f"<workflow {self.name} ({place_of(self.function)})>"


@overload
def workflow(function: Callable[P, Any], /, *, name: str = "") -> Workflow[P]: ...


@overload
def workflow(*, name: str = "") -> Callable[[Callable[P, Any]], Workflow[P]]: ...


def workflow(function: Callable[P, Any] | None = None, /, *, name: str = "") -> Any:
    """Make a function a workflow: called, it wires the steps that it calls, and gives a `Plan`; `plan.run()` runs them.

        @motet.workflow
        def fashion(epochs: int = 3):
            rows = ingest()
            models = [train(kind, rows, epochs) for kind in ("linear", "mlp", "cnn")]
            return select(models)

        fashion(epochs=5).run()

    The function runs when the workflow is wired, so it sees promises where steps give results: see `when` for
    conditions. A workflow that is called by another one becomes a part of it.

    Args:
        function: a plain function that calls steps.
        name: what it is called; the function's name by default.
    """
    return Workflow(function, name) if function is not None else lambda function: Workflow(function, name)
