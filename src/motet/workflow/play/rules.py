"""Rules of a step's cache: what their functions give now, and whether what is kept still holds."""

from __future__ import annotations

import time
from dataclasses import dataclass

from motet.workflow.functions import place_of
from motet.workflow.memo.cache import KeptResult
from motet.workflow.memo.key import Argument, Key
from motet.workflow.play.durations import apart
from motet.workflow.play.session import Session
from motet.workflow.play.state import StepState, StepValue
from motet.workflow.policies import Rule, WhenChanged

__all__ = ["Rules"]


@dataclass(frozen=True)
class Rules:
    """The rules of the steps of a session."""

    session: Session

    def holds(
        self,
        state: StepState,
        place: int,
        rule: Rule,
        entry: KeptResult,
        value: StepValue,
    ) -> tuple[bool, str]:
        """Whether a rule takes a kept result, and why.

        Args:
            state: the step.
            place: the place of the rule among those of the step.
            rule: the rule.
            entry: the kept result.
            value: its value.
        """
        name = getattr(rule.function, "__name__", "the rule")
        if isinstance(rule, WhenChanged):
            then = entry.numbers.get(self.place(place, rule))
            if then is None:
                return False, f"{name} itself is new or changed"
            now = self.number(state, rule, None)
            holds = rule.holds(then, now)
            change, bound = (
                apart(100 * abs(now - then) / abs(then), 100 * rule.by) if then else ("", f"{100 * rule.by:.3g}")
            )
            before, after = apart(then, now, digits=6)
            told = f"{name}: {before} -> {after}{f', a change of {change}%' if change else ''}"
            return holds, f"{told}, {'at most' if holds else 'more than'} {bound}%"
        now = self.number(state, rule, value)
        holds = rule.holds(now)
        is_now, bound = apart(now, rule.bound, digits=6)
        return holds, f"{name} is {is_now}, {'at least' if holds else 'less than'} {bound}"

    def place(self, place: int, rule: WhenChanged) -> str:
        """The name of a statistic's number in an entry: numbers of another function cannot be compared."""
        return f"{place} {self.session.code(rule.function).digest[:16]}"

    def number(self, state: StepState, rule: Rule, value: StepValue | None) -> float:
        """What a rule's function gives now; kept by content, so that nothing is loaded to find it again."""
        session, every = self.session, state.arguments
        given = {name: every[name] for name in rule.data()}
        arguments = {name: session.argument(each) for name, each in given.items()}
        if value is not None:
            arguments["(result)"] = Argument(value.digest, "")
        key = Key(f"rule {place_of(rule.function).partition(' ')[0]}", session.code(rule.function).digest, arguments)
        found = session.cache.get(key.digest)
        if found is not None and not session.cache.artifacts.fault(found.kept):
            return float(session.cache.artifacts.load(found.kept))
        began = time.perf_counter()
        values = [session.resolve(each) for each in given.values()]
        number = float(
            rule.function(*([] if value is None else [session.load(value, session.files.checkout())]), *values)
        )
        kept, _ = session.cache.artifacts.keep(number)
        seconds = time.perf_counter() - began
        try:
            session.cache.put(KeptResult(key.digest, key, kept, session.cache.clock(), seconds, session.run))
        except OSError as error:
            session.not_kept(error.strerror or str(error))
        return number
