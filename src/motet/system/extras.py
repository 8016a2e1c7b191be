"""Packages that an extra brings, imported when something needs them."""

from __future__ import annotations

import importlib
from typing import Any

from motet.errors import MissingExtraError

__all__ = ["imported"]


def imported(module: str, package: str, extra: str, needed_for: str) -> Any:
    """Import what an extra brings.

    Args:
        module: what is imported.
        package: what it is called where packages are had from.
        extra: the extra of Motet that has it.
        needed_for: what needs it, for the message.

    Raises:
        MissingExtraError: when it is not installed; names the command that installs it.
        ImportError: when it is, and something that it imports itself is not.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] == module.split(".")[0]:
            raise MissingExtraError(package, extra, needed_for) from error
        raise
