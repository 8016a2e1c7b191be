"""A day of spikes, simulated: `python -m benchmarks.spikes`.

Four models share the cores of a machine, and a bulk run fills what they leave idle. The scaler, the rules by which it decides
and the pool are the real ones; only time, requests and replicas are simulated, so that a day takes seconds. It is compared with
fixed numbers of replicas, and with somebody who knows every request before it comes. A replica answers one request at a
time; batches, which would make every figure better, are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from statistics import fmean

import click
import numpy as np

from benchmarks.spikes_parts.day import MODELS, Asked, Kind, asked
from benchmarks.spikes_parts.played import Figures, play
from benchmarks.spikes_parts.policies import Fixed, Foreseen, Scaled, Steers, foreseen, mean_count, peak_count
from benchmarks.tables import table
from motet.runtime.autoscaling.policy import ScalingPolicy

__all__ = ["main", "policies"]

OURS, PERFECT = "motet", "foresight"


def policies(day: Mapping[Kind, Asked], hours: float, most: int) -> dict[str, Steers]:
    """Who is compared.

    Args:
        day: the requests, by model.
        hours: of the day.
        most: replicas that a model may have.
    """
    plans = {kind.name: foreseen(each, hours, kind.load_s) for kind, each in day.items()}
    return {
        OURS: Scaled(ScalingPolicy(0, most)),
        "motet, min 1": Scaled(ScalingPolicy(1, most)),
        "static, 1 each": Fixed({kind.name: 1 for kind in day}),
        "static, mean": Fixed({kind.name: mean_count(each, hours) for kind, each in day.items()}),
        "static, peak": Fixed({kind.name: peak_count(each, hours) for kind, each in day.items()}),
        PERFECT: Foreseen(plans),
    }


@click.command()
@click.option("--hours", default=24.0, show_default=True, help="How long it goes on, from midnight.")
@click.option(
    "--cores", default=24, show_default=True, help="Of the machine; fixed numbers for peaks get what they need."
)
@click.option("--most", default=12, show_default=True, help="Replicas that a model may have.")
@click.option("--seeds", default=1, show_default=True, help="Days, each with another chance; means are shown.")
@click.option("--output", type=click.Path(path_type=Path), help="Where every figure is written, as JSON.")
def main(hours: float, cores: int, most: int, seeds: int, output: Path | None) -> None:
    """Play a day with each policy."""
    found: dict[str, list[Figures]] = {}
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        day = {kind: asked(kind, hours, random) for kind in MODELS}
        for name, steers in policies(day, hours, most).items():
            needed = sum(peak_count(each, hours) for each in day.values()) if name == "static, peak" else cores
            figures, _ = play(day, steers, cores=max(cores, needed), hours=hours)
            found.setdefault(name, []).append(figures)
    means = {name: {each.name: fmean(getattr(f, each.name) for f in days) for each in fields(Figures)}
             for name, days in found.items()}  # fmt: skip
    print(f"{seeds} days of {hours:g} hours, {means[OURS]['requests']:,.0f} requests each, {cores} cores\n")
    print(_table(means))
    if output is not None:
        written = {name: [asdict(each) for each in days] for name, days in found.items()}
        output.write_text(json.dumps(written, indent=1) + "\n")


def _table(means: Mapping[str, Mapping[str, float]]) -> str:
    head = [
        "replicas", "busy", "p50", "p99", "p99.9", "refused", "cores held", "of foresight", "scalings", "undone",
        "cold", "bulk core-h",
    ]  # fmt: skip
    perfect = means[PERFECT]
    rows = [
        [
            name,
            f"{each['utilisation']:.0%}",
            f"{each['p50_s'] * 1000:,.0f} ms",
            f"{each['p99_s']:.2f} s",
            f"{each['p999_s']:.1f} s",
            f"{each['refused']:,.0f}",
            f"{each['live_core_h']:,.1f} h",
            f"{each['live_core_h'] / perfect['live_core_h']:.2f}",
            f"{each['scalings']:,.0f}",
            f"{each['reversals']:,.0f}",
            f"{each['cold']:,.0f}",
            f"{each['bulk_core_h']:,.1f}",
        ]
        for name, each in means.items()
    ]
    return table(head, rows)


if __name__ == "__main__":
    main()
