"""What tables of databases and of lakes have in common as destinations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

from motet.databases.address import TableAddress
from motet.engines.local.destination import Destination
from motet.engines.local.work import WorkFolder, work_folder
from motet.io.places import Place, place_of
from motet.lake.address import LakeAddress

__all__ = ["AddressedDestination"]


@dataclass(frozen=True)
class AddressedDestination(Destination, ABC):
    """A table that answers go to, named by its address."""

    is_stream = False
    is_folder = False

    @property
    @abstractmethod
    def address(self) -> TableAddress | LakeAddress:
        """Its address.

        Raises:
            InputError: when it is none.
        """

    @cached_property
    def place(self) -> Place:
        """What stands for it among files: a path beside it, or in the current folder."""
        return place_of(self.address.beside)

    @property
    def shown(self) -> str:
        """See `Destination`: without what is secret."""
        return str(self.address)

    @property
    def failed(self) -> str | None:
        """See `Destination`."""
        return f"{self.address.beside}.failed.parquet"

    def work_folder(self) -> WorkFolder:
        """See `Destination`."""
        return work_folder(self.place, is_folder=False)
