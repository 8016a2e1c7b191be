"""Progress on a terminal: rows done, rows a second, failures, time left."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["ProgressLine"]


class ProgressLine:
    """A line that follows a run; called with the rows done, the rows there are, and the rows failed."""

    def __init__(self) -> None:
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("rows  {task.fields[speed]}{task.fields[failed]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task("", total=None, speed="", failed="")

    def __enter__(self) -> ProgressLine:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def __call__(self, done: int, total: int | None, failed: int) -> None:
        """Show where the run is; speed and time left are those of the last half minute."""
        speed = self._progress.tasks[self._task].speed
        self._progress.update(
            self._task,
            completed=done,
            total=total,
            speed=f"{speed:,.0f} rows/s" if speed else "",
            failed=f"  {failed:,} failed" if failed else "",
        )
