"""What a plan is to reach: so many rows, in some time, at a rate, or for some money."""

from __future__ import annotations

from dataclasses import dataclass

from motet.errors import InputError

__all__ = ["PlanGoal"]

HOUR_S = 3600.0


@dataclass(frozen=True)
class PlanGoal:
    """What a plan is to reach.

    Attributes:
        rows: how many.
        deadline_s: until when all must be answered, in seconds; None for any time.
        budget: what all may cost: money, or machine hours; None for anything.
        hourly: whether so many come every hour.
    """

    rows: int
    deadline_s: float | None = None
    budget: float | None = None
    hourly: bool = False

    @classmethod
    def of(
        cls,
        known_rows: int,
        rows: int | None = None,
        rows_per_hour: float | None = None,
        deadline_s: float | None = None,
        budget: float | None = None,
    ) -> PlanGoal:
        """What was asked for.

        Args:
            known_rows: rows of the source, which count where nobody says how many.
            rows, rows_per_hour, deadline_s, budget: what was asked; None for nothing.

        Raises:
            InputError: when more than one thing was, or one cannot be.
        """
        asked = {"rows_per_hour": rows_per_hour, "deadline": deadline_s, "budget": budget}
        given = [name for name, value in asked.items() if value is not None]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} were given", where="plan", hint="give one of them")
        if rows_per_hour is not None and rows is not None:
            raise InputError("rows_per_hour says how many rows there are", where="plan", hint="leave rows out")
        for name, value in {**asked, "rows": rows}.items():
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name} must be a number above 0; got {value:g}", where="plan")
        if rows_per_hour is not None:
            return cls(max(1, round(rows_per_hour)), HOUR_S, hourly=True)
        return cls(known_rows if rows is None else rows, deadline_s, budget)
