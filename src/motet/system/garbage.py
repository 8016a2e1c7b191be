"""When a program of ours looks for garbage: not while it starts, which makes a hundred thousand objects that all stay."""

from __future__ import annotations

import gc

__all__ = ["look", "put_off"]

_is_put_off = False


def put_off() -> None:
    """Look for no garbage until `look` is called. Does nothing where nobody looks for it anyway."""
    global _is_put_off
    _is_put_off = gc.isenabled()
    gc.disable()


def look() -> None:
    """Look for garbage from here on, where that was put off; what was made until now stays, and is not looked through."""
    global _is_put_off
    if _is_put_off:
        gc.freeze()
        gc.enable()
    _is_put_off = False
