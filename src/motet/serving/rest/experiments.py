"""GET and POST /experiments/GRAPH: what experiments came to so far, and what is decided of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from motet.errors import InputError, NotReadyError, UnknownNameError, known_names
from motet.planning.experiments.experiment import Experiment
from motet.planning.experiments.since import read_since
from motet.serving.experiments.decisions import STEPS, Decision, promoted, ramped, stopped
from motet.serving.middleware.middleware import Middleware
from motet.serving.repository.repository import ModelRepository
from motet.serving.rest.calls import enter
from motet.serving.rest.feedback import kept
from motet.serving.rest.parts import AppParts
from motet.serving.rest.respond import json_response, read_object

if TYPE_CHECKING:  # what keeps experiments needs SQLAlchemy, which a server without them may lack
    from motet.serving.experiments.experiments import Experiments

__all__ = ["ExperimentRoutes"]

FRESH_S = 5.0
"""How long a report is given again, since many pages may ask."""
MOST_REPORTS = 64
_KEYS = ("action", "node", "arm", "steps", "every_s", "units")


class ExperimentRoutes:
    """Says what experiments came to, and takes decisions of administrators.

    Args:
        repository: what is served.
        middleware: what every request passes; says who may decide.
        parts: of the server.
    """

    def __init__(self, repository: ModelRepository, middleware: Middleware, parts: AppParts) -> None:
        self._repository, self._middleware, self._parts = repository, middleware, parts
        self._reading = asyncio.Lock()
        self._reports: dict[tuple[str, str, str, bool], tuple[float, Any]] = {}

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/experiments.json", self.listed),
            Route("/experiments/{name}", self.report),
            Route("/experiments/{name}", self.decide, methods=["POST"]),
        ]

    async def listed(self, _request: Request) -> Response:
        """The graphs that have experiments."""
        found = self._parts.experiments
        return json_response({"graphs": [] if found is None else list(found.graphs)})

    async def report(self, request: Request) -> Response:
        """What each experiment of a graph came to so far.

        Whoever may see the page may ask, at the cost of nobody's rate; where nobody is anonymous, or a time is asked for, the request
        passes what others do.
        """
        name = request.path_params["name"]
        admission = self._middleware.admission
        asks = request.query_params.get("since") or request.query_params.get("all")
        if asks or (admission is not None and not admission.config.anonymous):
            with await enter(self._middleware, request, name, 0) as context:
                response = await self._reports_of(request, name)
                context.sent_bytes = len(response.body)
            return response
        return await self._reports_of(request, name)

    async def _reports_of(self, request: Request, name: str) -> Response:
        experiments = kept(self._parts, self._repository.find(name).name)
        since, node = request.query_params.get("since", ""), request.query_params.get("node", "")
        chosen = experiments.experiments(name)
        chosen = [_named(chosen, node)] if node else chosen
        every = _truth(request.query_params.get("all", ""))
        return json_response({"experiments": [await self._report(experiments, each, since, every) for each in chosen]})

    async def _report(self, experiments: Experiments, experiment: Experiment, since: str, every: bool) -> Any:
        """A report, made by one thread at a time; one that was made a moment ago is given again."""
        from motet.serving.experiments.guardian import report_now

        key = experiment.graph, experiment.node, since, every
        async with self._reading:
            made, found = self._reports.get(key, (0.0, None))
            if time.monotonic() - made > FRESH_S or found is None:
                moment = read_since(since, time.time()) if since else 0.0
                try:
                    made_of = experiments.database, experiment, moment
                    report = await experiments.ask(report_now, *made_of, every=every)
                    found = {"report": json.loads(report.to_json()), "text": str(report)}
                except NotReadyError as error:  # given again, too: else who asks waits for all who asked before
                    found = error
                if len(self._reports) >= MOST_REPORTS:
                    self._reports.clear()
                self._reports[key] = time.monotonic(), found
        if isinstance(found, NotReadyError):
            raise found.with_traceback(None)
        last = experiments.decision(experiment.graph, experiment.node)
        return {**found, "decision": None if last is None else _told(last)}

    async def decide(self, request: Request) -> Response:
        """Change the split of an experiment, in all processes, and on all machines that share the database."""
        name = request.path_params["name"]
        with await enter(self._middleware, request, name, len(await request.body()), admin=True) as context:
            experiments = kept(self._parts, self._repository.find(name).name)
            said = await read_object(request)
            experiment = _named(experiments.experiments(name), said.get("node") or "")
            decision = _decision(experiment, said, context.identity.name)
            # shielded: a caller that is gone must not leave a graph half swapped
            await asyncio.shield(experiments.decide(decision))
            self._reports.clear()
            response = json_response(_told(decision))
            context.sent_bytes = len(response.body)
        return response


def _truth(said: str) -> bool:
    """What the parameter `all` says.

    Raises:
        InputError: when it is neither true nor false.
    """
    known = {"": False, "0": False, "false": False, "1": True, "true": True}
    if said.lower() not in known:
        raise InputError(f"'all' is true or false; got {said!r}")
    return known[said.lower()]


def _named(experiments: Sequence[Experiment], node: object) -> Experiment:
    known = [each.node for each in experiments]
    if not node and len(known) == 1:
        return experiments[0]
    if not node:
        raise InputError(f"there are several experiments: {', '.join(known)}", hint="name the node of one")
    for each in experiments:
        if each.node == node:
            return each
    raise UnknownNameError("experiment", str(node), known)


def _decision(experiment: Experiment, said: Mapping[str, Any], who: str) -> Decision:
    for key in said:
        if key not in _KEYS:
            raise InputError(f"unknown key {key!r}; {known_names(key, _KEYS)}")
    action, arm = said.get("action"), said.get("arm") or ""
    if action not in ("promote", "stop", "ramp"):
        raise InputError(f"'action' must be promote, stop or ramp; got {action!r}")
    if action == "stop":
        return stopped(experiment, who)
    if not isinstance(arm, str):
        raise InputError(
            f"'arm' must be the name of an arm; got {arm!r}", hint=f"name one of {', '.join(experiment.arms)}"
        )
    if not arm:
        if len(experiment.treatments) != 1:
            raise InputError("'arm' is missing", hint=f"name one of {', '.join(experiment.arms)}")
        arm = experiment.treatments[0]
    if action == "promote":
        return promoted(experiment, arm, who)
    steps = said.get("steps", list(STEPS))
    if not isinstance(steps, list) or not all(type(each) in (int, float) for each in steps):
        raise InputError(f"'steps' must be a list of percent; got {steps!r}")
    every_s, units = said.get("every_s", 3600), said.get("units", 100)
    if type(every_s) not in (int, float) or type(units) is not int:
        raise InputError(f"'every_s' is seconds and 'units' a whole number; got {every_s!r} and {units!r}")
    return ramped(experiment, arm, who, steps, every_s, units)


def _told(decision: Decision) -> dict[str, Any]:
    total = sum(decision.weights.values())
    return {
        "graph": decision.graph, "node": decision.node, "action": decision.action, "arm": decision.arm,
        "shares": {arm: weight / total for arm, weight in decision.weights.items()}, "time": decision.time,
        "who": decision.who, "why": decision.why, "steps": list(decision.steps), "step": decision.step,
        "every_s": decision.every_s, "units": decision.units,
    }  # fmt: skip
