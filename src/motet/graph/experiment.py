"""What a graph file says of an experiment: `metric: clicked` of a route by weighted split, or a mapping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from motet.errors import GraphError
from motet.graph.section import CheckedSection, between, keys_of, matching

__all__ = ["ExperimentMetric", "GuardrailBounds"]


@dataclass(frozen=True)
class GuardrailBounds(CheckedSection):
    """How much worse than the control an arm may be in what is not its metric; what is None is not watched.

    Attributes:
        errors: how much larger its share of rows that fail may be, as a difference, above 0 to 1.
        seconds: how many times the control's seconds a row may take, above 1.
    """

    errors: Annotated[float, between(0, 1, above=True)] | None = None
    seconds: Annotated[float, between(1, above=True)] | None = None


@dataclass(frozen=True)
class ExperimentMetric(CheckedSection):
    """What the arms of a split are compared by. A text alone is the metric's name.

    Attributes:
        name: what the outcome is called in feedback and in files.
        kind: `rate` for outcomes from 0 to 1 (true and false), `mean` for other numbers.
        better: whether `more` of it is better, or `less`.
        effect: the smallest relative difference worth finding, above 0; sizes are planned for it.
        control: the arm that the others are compared with; None for the first of the split.
        missing: what a row without an outcome is: `zero`, or `skip` for nothing. None for `zero` of a rate and `skip` of a mean.
        guardrails: how much worse an arm may be in errors and seconds.
        segments: columns of the graph by whose values the report looks once more.
    """

    ALONE = "name"
    name: Annotated[str, matching(r"\S(.*\S)?", "is no name of a metric", "write metric: clicked")]
    kind: Literal["rate", "mean"] = "rate"
    better: Literal["more", "less"] = "more"
    effect: Annotated[float, between(0, above=True)] = 0.05
    control: str | None = None
    missing: Literal["zero", "skip"] | None = None
    guardrails: GuardrailBounds = GuardrailBounds()
    segments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.segments)) < len(self.segments):
            raise GraphError(f"a column is there twice: {', '.join(self.segments)}", where="segments")

    @property
    def missing_is_zero(self) -> bool:
        """Whether a row without an outcome counts as one whose outcome is 0."""
        return (self.missing or ("zero" if self.kind == "rate" else "skip")) == "zero"

    @property
    def more_is_better(self) -> bool:
        """Whether more of it is better."""
        return self.better == "more"

    def written(self) -> Any:
        """What it is read from: the name alone where nothing else is said."""
        given = {
            key: getattr(self, key) for key, each in keys_of(type(self)).items() if getattr(self, key) != each.default
        }
        plain = {"guardrails": self.guardrails.written(), "segments": list(self.segments)}
        said = {key: plain.get(key, value) for key, value in given.items()}
        return said if len(said) > 1 else self.name

    def __str__(self) -> str:
        return self.name
