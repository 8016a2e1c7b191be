"""What makes up a training, by name: told to checkpoints, and put back where it was.

An entry with `state_dict` and `load_state_dict` (a model, an optimizer) is asked and told by these, one of Keras by its
variables. Any other is a value: lists,
dicts, sets, arrays and tensors are filled again, so that who holds one sees it; numbers, texts and the like are set anew in
the mapping, which is where a training changes them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, MutableMapping
from typing import Any

import numpy as np

from motet.errors import InputError, TrainingError
from motet.training.checkpoints import read
from motet.training.mirrored import arrays_of, fill_arrays, is_of_keras

__all__ = ["kept", "refuse_unkept", "restore"]


def kept(state: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint has of each entry."""
    return {name: _kept(each) for name, each in state.items()}


def _kept(each: Any) -> Any:
    if is_of_keras(each):
        return arrays_of(each)
    return each.state_dict() if _asked(each) else each


def refuse_unkept(state: Mapping[str, Any]) -> None:
    """Refuse, before any work, what could not be gone on with.

    Raises:
        InputError: naming the entry that a checkpoint would not give back.
    """
    import torch

    for name, each in state.items():
        where = f"state entry {name!r}"
        if hasattr(each, "state_dict") != hasattr(each, "load_state_dict"):
            hint = "give it state_dict and load_state_dict, or neither"
            raise InputError(f"a {type(each).__name__} has only one of the two", where=where, hint=hint)
        if not isinstance(each, torch.nn.Module | torch.optim.Optimizer):
            refuse_unread(name, kept({name: each})[name])
        if not (_asked(each) or is_of_keras(each) or _is_filled(each) or isinstance(state, MutableMapping)):
            raise InputError(f"cannot be set again in a {type(state).__name__}", where=where, hint="give a dict")


def refuse_unread(name: str, value: Any) -> None:
    """Refuse a part of the state that cannot be read again when it is written.

    Raises:
        InputError: naming the entry.
    """
    import torch

    written = io.BytesIO()
    try:
        torch.save(value, written)
        written.seek(0)
        read(written)
    except Exception as error:  # noqa: BLE001  pickling a user's value may raise anything
        kind = re.search(r"GLOBAL (\S+) was not an allowed global", str(error))
        reason = f"it has a {kind[1]}" if kind else (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"a checkpoint would not give it back: {reason}",
            where=f"state entry {name!r}",
            hint="have numbers, texts, tensors, arrays, and lists and dicts of them in it; str(path), value.isoformat()",
        ) from None


def restore(state: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Put back what a checkpoint has.

    Raises:
        TrainingError: when the checkpoint has other entries.
    """
    if set(state) != set(found):
        raise TrainingError(
            f"the checkpoint has {', '.join(sorted(found)) or 'nothing'}, and the state is {', '.join(sorted(state))}",
            hint="the training is another: remove its checkpoints to begin anew",
        )
    for name, each in list(state.items()):
        if is_of_keras(each):
            fill_arrays(each, found[name])
        elif _asked(each):
            each.load_state_dict(found[name])
        else:
            value = _filled(each, found[name])
            if value is not each:
                state[name] = value  # type: ignore[index]  # refused before where it cannot be


def _asked(thing: Any) -> bool:
    return hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict")


def _is_filled(thing: Any) -> bool:
    import torch

    return isinstance(thing, dict | list | set | np.ndarray | torch.Tensor)


def _filled(old: Any, new: Any) -> Any:
    """The old container with what the new one has; the new value where it cannot be filled."""
    import torch

    if type(old) is not type(new):
        return new
    if isinstance(old, dict):
        filled = {key: _filled(old[key], each) if key in old else each for key, each in new.items()}
        old.clear()
        old.update(filled)
    elif isinstance(old, list):
        old[:] = [*map(_filled, old, new), *new[len(old) :]]
    elif isinstance(old, set):
        old.clear()
        old.update(new)
    elif isinstance(old, np.ndarray | torch.Tensor) and old.shape == new.shape and old.dtype == new.dtype:
        with torch.no_grad():
            old[...] = new
    else:
        return new
    return old
