"""`python -m tests.helpers.chaos`: see the package."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from .clients import Clients
from .faults import Faults
from .verdict import Verdict, judge
from .world import World


def play(folder: Path, *, seed: int, minutes: float, clients: int = 4, small: bool = False) -> Verdict:
    """A time of chaos.

    Args:
        folder: for everything; one that another user may enter.
        seed: of what happens, and of what is asked.
        minutes: how long, but at least everything once.
        clients: how many ask over HTTP.
        small: some things instead of everything, and a database that is a file.
    """
    world, chance = World(folder, small=small), random.Random(seed)
    asking = Clients(world, clients, seed)
    faults = Faults(world, asking, chance)
    try:
        world.begin()
        asking.start()
        end = time.monotonic() + minutes * 60
        if small:
            faults.some(3)
        else:
            faults.all()
        while time.monotonic() < end:
            chance.choice([faults.any, faults.pair])()
            if len(faults.done) % 15 == 0:
                faults.supervisor_killed()
        asking.stop()
        return judge(world, asking, faults)
    finally:
        world.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.helpers.chaos")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keep the folder, with the server's log")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="motet-chaos-"))
    folder.chmod(0o711)
    try:
        found = play(folder, seed=chosen.seed, minutes=chosen.minutes, clients=chosen.clients, small=chosen.small)
    finally:
        if chosen.keep:
            sys.stderr.write(f"kept in {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write("\n".join([found.text, *(f"MISTAKE: {each}" for each in found.mistakes), ""]))
    return 1 if found.mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
