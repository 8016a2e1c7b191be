"""Abuse: slow clients, bad requests and many requests, beside good traffic whose answers are checked.

    python -m benchmarks.abuse                                        # all of it, against a server of its own
    python -m benchmarks.abuse --url http://127.0.0.1:8000 --model fashion --parts slow,bad
    python -m benchmarks.abuse --parts soak --requests 10000000 --max-seconds 1200

    slow    connections of nine slow kinds are held open: do good requests go on, how fast, what becomes of the others
    bad     bad requests of many kinds: is each answered with a 4xx that says why, does no good one fail
    soak    many good requests: does memory grow

It ends with exit code 1 where a good request failed, a bad one was not refused, or memory grew by 5 % or more. A server
that is given by its address must take the input `image` (uint8[28,28]) and give `label` and `score`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from benchmarks.live_parts.bad_requests import Verdict, bad_requests, send_all
from benchmarks.live_parts.bodies import GRAPHS, Answer, Ask, asks, fashion_images, meaning, oip_ask
from benchmarks.live_parts.client import Seen, Traffic
from benchmarks.live_parts.load import written
from benchmarks.live_parts.peers.answering import Images
from benchmarks.live_parts.servers import CANDIDATES, Candidate, ask_of, free_port, started
from benchmarks.live_parts.soak import growth, soak
from benchmarks.live_parts.work import WORKS
from benchmarks.measure import ROOT
from benchmarks.tables import table

__all__ = ["main"]

PARTS: Final = ("slow", "bad", "soak")
WORK: Final = WORKS["mlp-binary"]
IMAGES: Final = 32
READY_S: Final = 120.0
MOST_GROWTH: Final = 0.05


@dataclass(frozen=True)
class Target:
    """The server.

    Attributes:
        port: where it listens on loopback.
        pid: its first process; 0 where it is not known.
        asks: good requests.
        wanted: their answers, which it gave when it was left in peace.
        candidate: how it is asked.
        model: what it is asked, where it speaks the Open Inference Protocol.
    """

    port: int
    pid: int
    asks: Sequence[Ask]
    wanted: Sequence[Answer]
    candidate: Candidate
    model: str

    def traffic(self, connections: int, pause_s: float = 0.0) -> Traffic:
        """Good traffic whose answers are checked."""
        return Traffic(self.port, [ask.data() for ask in self.asks], connections, self._difference, pause_s)

    def _difference(self, place: int, headers: dict[str, str], body: bytes) -> str:
        try:
            return meaning(self.candidate.dialect, headers, body, WORK.encoding).difference(self.wanted[place])
        except (ValueError, KeyError) as error:
            return f"no answer to what was asked: {error!r}"


def good(seen: Seen) -> bool:
    """Whether no good request failed."""
    return seen.requests > 0 and not (seen.bad_status or seen.broken or seen.num_wrong)


def line(name: str, seen: Seen) -> tuple[str, ...]:
    """Good traffic as a line of a table."""
    driven = seen.driven()
    times = (f"{driven.p50_ms:.2f}", f"{driven.p99_ms:.2f}", f"{driven.max_ms:.1f}")
    return (name, f"{driven.per_s:,.0f}", *times, f"{driven.errors:,}", f"{seen.num_wrong:,}")


TRAFFIC: Final = ("requests/s", "p50 ms", "p99 ms", "longest ms", "failed", "wrong")


async def play_slow(target: Target, options: argparse.Namespace, folder: Path) -> bool:
    """Good traffic before and beside slow connections; whether none of it failed."""
    file = folder / "slow.http"
    file.write_bytes(target.asks[0].data())
    traffic = target.traffic(options.connections)
    await traffic.start()
    await asyncio.sleep(options.seconds)
    before = traffic.fresh()
    lines = [line("before", before)]
    command = [sys.executable, "-m", "benchmarks.live_parts.slow", str(target.port), str(options.slow), str(file)]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=ROOT)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        await asyncio.wait_for(child.stdout.readline(), READY_S)
        opening = traffic.fresh()
        await asyncio.sleep(options.seconds)
        beside = await traffic.stop()
        child.stdin.close()
        fates: Mapping[str, Mapping[str, int]] = json.loads(await asyncio.wait_for(child.stdout.read(), READY_S))
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
    lines += [line("while they are opened", opening), line("beside them", beside)]
    print(table((f"{options.slow:,} slow connections", *TRAFFIC), lines), end="\n\n")
    told = [(name, "; ".join(f"{many:,} {fate}" for fate, many in by.items())) for name, by in fates.items()]
    print(table((f"what became of them in {options.seconds:g} s", ""), told), end="\n\n", flush=True)
    _print_failures([before, opening, beside])
    return all(map(good, (before, opening, beside)))


async def play_bad(target: Target, options: argparse.Namespace, images: Images) -> bool:
    """Bad requests beside good ones; whether all bad ones were refused, and no good one failed."""
    kinds = bad_requests(target.model, images[:1])
    traffic = target.traffic(options.connections)
    await traffic.start()
    verdicts = await send_all(target.port, kinds, options.bad, options.connections)
    seen = await traffic.stop()
    print(
        table(
            (f"{options.bad:,} bad requests", "times", "statuses", "longest ms", "says"),
            [_verdict(*each) for each in verdicts.items()],
        )
    )
    print("\n" + table(("beside them", *TRAFFIC), [line("good requests", seen)]), end="\n\n", flush=True)
    _print_failures([seen])
    return good(seen) and not any(verdict.wrong for verdict in verdicts.values())


def _verdict(name: str, verdict: Verdict) -> tuple[str, ...]:
    statuses = ", ".join(f"{status or 'none'}" for status in sorted(verdict.statuses))
    said = f"WRONG: {next(iter(verdict.wrong))}" if verdict.wrong else verdict.said
    longest = f"{verdict.longest_s * 1000:,.0f}"
    return (name, f"{verdict.statuses.total()}", statuses, longest, " ".join(said.split())[:90])


def _print_failures(several: Sequence[Seen]) -> None:
    for seen in several:
        for reason in seen.wrong:
            print(f"a good request failed: {reason}")


def play_soak(target: Target, options: argparse.Namespace, folder: Path) -> bool:
    """Many requests; whether all were answered and memory did not grow."""
    if not target.pid:
        sys.exit("abuse: soak needs the server's process: --pid PID")
    files, samples = written(target.asks, folder, "soak"), []
    print(f"{options.requests:,} requests, {options.soak_connections} connections")
    for sample in soak(
        target.port, target.pid, files, options.soak_connections, options.requests, options.max_seconds, folder
    ):
        samples.append(sample)
        memory = f"{sample.rss_bytes / 2**20:,.1f} MiB"
        print(f"  {sample.requests:>12,} in {sample.seconds:,.0f} s: {memory}, {sample.errors:,} failed", flush=True)
    grown = growth(samples)
    print(
        f"memory grew by {'an unknown part' if grown is None else f'{grown:.2%}'} after the first twentieth", end="\n\n"
    )
    return not samples[-1].errors and (grown is None or grown < MOST_GROWTH)


def target_of(options: argparse.Namespace, stack: ExitStack, folder: Path, images: Images) -> Target:
    """The server that is given, or one of its own."""
    candidate, model = CANDIDATES[options.server], options.model
    if options.url:
        place = urlsplit(options.url)
        if place.hostname not in ("127.0.0.1", "localhost") or place.scheme != "http":
            sys.exit(f"abuse: --url: got {options.url!r}; a server on this machine is abused: http://127.0.0.1:PORT")
        port, pid = place.port or 80, options.pid
    else:
        port = free_port()
        server = stack.enter_context(started(candidate.command(options.peers_python, WORK, port, folder), port, folder))
        pid = server.process.pid
        first = asks(candidate.dialect, WORK, images[:1])[0]
        server.wait(lambda: server.ask(first)[0] == 200)
    good_asks = asks(candidate.dialect, WORK, images)
    if candidate.dialect == "oip":
        good_asks = [oip_ask(model, image, WORK.encoding) for image in images[:, None]]
    answers = []
    for ask in good_asks:
        status, headers, body = ask_of(port, ask)
        if status != 200:
            sys.exit(f"abuse: a good request was answered {status}: {body[:300].decode(errors='replace')}")
        answers.append(meaning(candidate.dialect, headers, body, WORK.encoding))
    return Target(port, pid, good_asks, answers, candidate, model)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.abuse", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", default="", help="of a server on this machine (default: one of its own is started)")
    parser.add_argument("--model", default=GRAPHS["mlp"], help=f"what it is asked (default: {GRAPHS['mlp']})")
    parser.add_argument("--pid", type=int, default=0, help="the first process of the server at --url; soak needs it")
    parser.add_argument("--server", choices=tuple(CANDIDATES), default="motet", help="what is started (default: motet)")
    parser.add_argument("--peers-python", default=sys.executable, help="the Python that has the peers (default: this)")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--connections", type=int, default=8, help="of good traffic, slow and bad (default: 8)")
    parser.add_argument("--seconds", type=float, default=10.0, help="slow: before and beside (default: 10)")
    parser.add_argument("--slow", type=int, default=1000, help="slow: connections (default: 1000)")
    parser.add_argument("--bad", type=int, default=1000, help="bad: requests (default: 1000)")
    parser.add_argument("--requests", type=int, default=1_000_000, help="soak: how many (default: 1000000)")
    parser.add_argument("--soak-connections", type=int, default=64, help="soak: at once (default: 64)")
    parser.add_argument("--max-seconds", type=float, default=600.0, help="soak: the most it may take (default: 600)")
    options = parser.parse_args(given)
    options.parts = options.parts.split(",")
    if unknown := [each for each in options.parts if each not in PARTS]:
        parser.error(f"--parts: unknown {', '.join(unknown)}; known: {', '.join(PARTS)}")
    numbers = ("connections", "seconds", "slow", "bad", "requests", "soak_connections", "max_seconds")
    if small := [name for name in numbers if getattr(options, name) <= 0]:
        parser.error(f"--{small[0].replace('_', '-')} is above 0")
    return options


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(given)
    images = fashion_images(IMAGES)
    passed = []
    with tempfile.TemporaryDirectory(prefix="motet-abuse-") as name, ExitStack() as stack:
        folder = Path(name)
        target = target_of(options, stack, folder, images)
        for part in options.parts:
            if part == "slow":
                passed.append(asyncio.run(play_slow(target, options, folder)))
            elif part == "bad":
                passed.append(asyncio.run(play_bad(target, options, images)))
            else:
                passed.append(play_soak(target, options, folder))
    failed = [part for part, good in zip(options.parts, passed, strict=True) if not good]
    sys.exit(f"abuse: failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
