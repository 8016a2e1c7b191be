"""What machines there are, and what they cost: a file, or a small example that says it is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from motet.errors import GraphError, InputError
from motet.graph.section import Bytes, CheckedSection, KeyRule, Section, between
from motet.graph.yaml import parse
from motet.runtime.resources.need import Need

__all__ = ["EXAMPLE", "MachineCatalogue", "MachineShape"]


@dataclass(frozen=True)
class MachineShape(CheckedSection):
    """A machine that can be had, any number of times.

    Attributes:
        name: what it is called.
        cpu: cores.
        memory: bytes.
        accelerator: how many.
        price: of an hour, in whatever money; None where nobody says it.
        speed: how many times as fast a core is as one of the machine where the profile was measured.
        accelerator_speed: how many times as fast an accelerator is as what the profile was measured with: a core, where there was no
            accelerator.
    """

    name: str
    cpu: Annotated[float, between(0, above=True)]
    memory: Bytes
    accelerator: Annotated[float, between(0)] = 0.0
    price: Annotated[float, between(0, above=True)] | None = None
    speed: Annotated[float, between(0, above=True)] = 1.0
    accelerator_speed: Annotated[float, between(0, above=True)] = 1.0

    @property
    def capacity(self) -> Need:
        """What there is to lend."""
        return Need(self.cpu, self.memory, self.accelerator, float("inf"), float("inf"))


@dataclass(frozen=True)
class MachineCatalogue(Section):
    """Machines that can be had: `machines: [{name: small, cpu: 4, memory: 16GiB, price: 0.2}]`."""

    machines: tuple[MachineShape, ...]
    is_example: Annotated[bool, KeyRule("")] = False

    def __post_init__(self) -> None:
        if not self.machines:
            raise GraphError(
                "there is no machine", hint="write machines: [{name: small, cpu: 4, memory: 16GiB, price: 0.2}]"
            )
        names = [each.name for each in self.machines]
        if twice := [name for name in names if names.count(name) > 1]:
            raise GraphError(f"two machines are called {twice[0]!r}")
        if (without := [each.name for each in self.machines if each.price is None]) and len(without) < len(names):
            raise GraphError(
                f"{without[0]!r} has no price, and others have", hint="give every machine a price, or none"
            )

    @property
    def priced(self) -> bool:
        """Whether hours cost money."""
        return self.machines[0].price is not None

    @classmethod
    def load(cls, path: str) -> MachineCatalogue:
        """Read a file.

        Raises:
            InputError: when it cannot be read, or says what no machine is.
        """
        try:
            return cls.read(parse(Path(path).read_text(encoding="utf-8")), "")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path!r} cannot be read: {error}", where="machines") from None
        except GraphError as error:
            raise InputError(
                error.what, where=f"machines {path!r}{': ' * bool(error.where)}{error.where}", hint=error.hint
            ) from None

    @classmethod
    def of(cls, machines: Sequence[MachineShape]) -> MachineCatalogue:
        """Machines of a program."""
        return cls(tuple(machines))


GIB = 1 << 30
EXAMPLE = MachineCatalogue(
    (
        MachineShape("small", 4, 16 * GIB, price=0.20),
        MachineShape("large", 16, 64 * GIB, price=0.80),
        MachineShape("memory", 16, 128 * GIB, price=1.10),
        MachineShape("accelerator", 8, 32 * GIB, 1, price=1.20),
        MachineShape("memory-accelerator", 16, 128 * GIB, 1, price=2.10),
    ),
    is_example=True,
)
"""Shapes and prices of about the size that clouds have. Nobody's: name your own."""
