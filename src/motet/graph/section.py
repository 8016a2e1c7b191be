"""Mappings that people write, read into the dataclasses that declare them; JSON Schema and the reference are made of the same.

    @dataclass(frozen=True)
    class GrpcConfig(Section):
        compression: Literal["none", "gzip"] = "none"
        calls: Annotated[int, between(1)] = 4096
        idle_s: Seconds = 600.0

A field's type says what its key takes, and `Annotated` what more there is to it: marks that narrow it, or a converter of its own. What
has no default must be there. `X | None` is None where the key is not there, and takes no null: what was to be filled in and was
not, as a certificate, would open a server. Where two fields must go together, the class says so when it is made: the `where` of
its error is the key, and the reader puts the place before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from math import inf
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, TypeAlias, get_args, get_origin, get_type_hints

from motet.errors import GraphError
from motet.graph.fields import Fields, of_kind, read_bytes, show, write_bytes
from motet.graph.forms import BYTES, NUMBER, TEXT, TRUTH, WHOLE, Form, either, list_of, one_of, or_null, record

__all__ = [
    "Bytes", "CheckedSection", "Converter", "FilePath", "KeyRule", "KeySpec", "Seconds", "Section", "any_case", "as_written", "between",
    "converter_of", "flag", "keys_of", "matching", "nullable", "one_or_list", "path", "section_form",
]  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Converter:
    """What a key takes.

    Attributes:
        read: makes the value of what was written, its place, and the folder that relative paths begin at.
        form: what JSON Schema says of it.
        section: whose mapping it is, or holds; None where it holds none.
        each: of what a list or a mapping by names holds; None for others.
        write: the inverse of `read`, of numbers and texts.
    """

    read: Callable[[Any, str, str], Any]
    form: Form
    section: type[Section] | None = None
    each: Converter | None = None
    write: Callable[[Any], Any] = lambda value: value


Mark: TypeAlias = Callable[[Converter], Converter]
"""What narrows or widens a converter."""


@dataclass(frozen=True, slots=True)
class KeyRule:
    """What a mark says of a key rather than of its value.

    Attributes:
        name: the key, where it is not the field's name; empty for a field that is not written.
        needs: keys one of which must be there, without which this one means nothing.
    """

    name: str | None = None
    needs: tuple[str, ...] = ()


class KeySpec(NamedTuple):
    """A key of a section.

    Attributes:
        field: that it is read into.
        kind: what it takes.
        default: of the field; MISSING where the key must be there.
        needs: keys one of which must be there with it.
    """

    field: str
    kind: Converter
    default: Any
    needs: tuple[str, ...]


class Section:
    """A dataclass that declares what a mapping may hold.

    Attributes:
        ALONE: the key that stands for the section where no mapping is written; empty where there is none.
    """

    __slots__ = ()
    ALONE: ClassVar[str] = ""

    @classmethod
    def read(cls, value: object, where: str, folder: str = "") -> Self:
        """What was written; null is a mapping without keys.

        Args:
            value: a mapping, or what stands for one.
            where: its place, for messages.
            folder: what relative paths in it are relative to.

        Raises:
            GraphError: when a key is unknown or missing, or a value wrong.
        """
        if isinstance(value, cls):
            return value
        keys, taken = keys_of(cls), dict[str, Any]()
        if cls.ALONE and not isinstance(value, (Mapping, NoneType)):
            alone = keys[cls.ALONE]
            return cls(**{alone.field: alone.kind.read(value, where, folder)})
        given = Fields({} if value is None else value, where, tuple(keys))
        for key, each in keys.items():
            if key in given:
                taken[each.field] = each.kind.read(given.raw(key), given.place(key), folder)
                if each.needs and not any(need in given for need in each.needs):
                    others = " or ".join(map(repr, each.needs))
                    raise GraphError(f"{key!r} means nothing without {others}", where=where)
            elif each.default is MISSING:
                raise GraphError(f"{key!r} is missing", where=where)
        try:
            return cls(**taken)
        except GraphError as error:
            place = f"{where}.{error.where}" if error.where else where
            raise GraphError(error.what, where=place, hint=error.hint) from None


class CheckedSection(Section):
    """A section of numbers and texts that programs make as well, so that its values are checked when it is made."""

    def __post_init__(self) -> None:
        if all(getattr(self, each.name) is each.default for each in fields(self)):  # type: ignore[arg-type]
            return
        for key, each in keys_of(type(self)).items():
            if (value := getattr(self, each.field)) is not each.default:
                object.__setattr__(self, each.field, each.kind.read(value, key, ""))

    def written(self) -> dict[str, Any]:
        """The mapping that it is read from; what has its default is left out."""
        keys = keys_of(type(self)).items()
        return {
            key: each.kind.write(value) for key, each in keys if (value := getattr(self, each.field)) != each.default
        }


_KEYS: dict[type[Any], Mapping[str, KeySpec]] = {}
"""What was asked for before."""


def keys_of(cls: type[Section]) -> Mapping[str, KeySpec]:
    """What a section declares, by key."""
    if cls not in _KEYS:
        _KEYS[cls] = dict(_specs(cls))
    return _KEYS[cls]


def _specs(cls: type[Any]) -> Iterator[tuple[str, KeySpec]]:
    hints = get_type_hints(cls, include_extras=True)
    for each in fields(cls):
        hint = hints[each.name]
        rule = next((mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, KeyRule)), KeyRule())
        if rule.name != "":
            default = each.default if each.default_factory is MISSING else each.default_factory()
            yield rule.name or each.name, KeySpec(each.name, converter_of(hint), default, rule.needs)


def section_form(cls: type[Section]) -> Form:
    """What JSON Schema says of a section; those inside it stand as references to their class's name."""
    keys = keys_of(cls)
    needed = [key for key, each in keys.items() if each.default is MISSING]
    needs = {key: either(*({"required": [need]} for need in each.needs)) for key, each in keys.items() if each.needs}
    whole = {
        **record({key: _with_default(each) for key, each in keys.items()}, needed),
        **({} if needed else {"type": ["object", "null"]}),
        **({"dependentSchemas": needs} if needs else {}),
    }
    return either(whole, keys[cls.ALONE].kind.form) if cls.ALONE else whole


def _with_default(each: KeySpec) -> Form:
    plain = type(each.default) in (str, int, float, bool) and each.default != ""
    return {**each.kind.form, "default": each.default} if plain else each.kind.form


def converter_of(hint: Any) -> Converter:
    """What reads values that are declared so."""
    if isinstance(hint, type) and issubclass(hint, Section):
        return Converter(hint.read, {"$ref": f"#/$defs/{hint.__name__}"}, hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        own = [mark for mark in hint.__metadata__ if isinstance(mark, Converter)]
        found = own[0] if own else converter_of(args[0])
        for mark in hint.__metadata__:
            found = mark(found) if callable(mark) else found
        return found
    if origin is Literal:
        return then(lambda value, where, folder: _one_of(value, args, where), **one_of(args))(_PLAIN[str])
    if origin is tuple:
        return _listed(converter_of(args[0]))
    if origin is Mapping:
        return _by_name(converter_of(args[0]), converter_of(args[1]))
    if NoneType in args:
        (inner,) = (each for each in args if each is not NoneType)
        return converter_of(inner)
    return _PLAIN[hint]


def then(step: Callable[[Any, str, str], Any], **form: Any) -> Mark:
    """What more is done to a value that was read, and what JSON Schema says of that."""

    def mark(kind: Converter) -> Converter:
        read = lambda value, where, folder: step(kind.read(value, where, folder), where, folder)  # noqa: E731
        return replace(kind, read=read, form={**kind.form, **form})

    return mark


def between(low: float, high: float = inf, *, above: bool = False, zero: bool = False) -> Mark:
    """Numbers of these bounds; `above` leaves the lower one out, `zero` lets 0 in beside them."""
    said = f"more than {low}" if above else f"from {low}" if high < inf else f"at least {low}"
    if high < inf:
        said += f", at most {high}" if above else f" to {high}"
    bounds = {"exclusiveMinimum" if above else "minimum": low, **({"maximum": high} if high < inf else {})}

    def step(found: float, where: str, folder: str) -> float:
        if not abs(found) < inf:
            raise GraphError(f"must be a finite number; got {found}", where=where)
        if not (low <= found <= high and not (above and found == low)) and not (zero and found == 0):
            raise GraphError(f"must be {'0, or ' * zero}{said}; got {found}", where=where)
        return found

    return then(step, **({"anyOf": [{"const": 0}, bounds]} if zero else bounds))


def matching(pattern: str, said: str, hint: str = "") -> Mark:
    """Texts that are of this pattern as a whole; `said` follows the text in the message."""

    def step(found: str, where: str, folder: str) -> str:
        if re.fullmatch(pattern, found) is None:
            raise GraphError(f"{show(found)} {said}", where=where, hint=hint)
        return found

    return then(step, pattern=f"^(?:{pattern})$")


def path(*but: str) -> Mark:
    """A path, which begins at the folder; these texts are none and stay as they are."""

    def step(found: str, where: str, folder: str) -> str:
        if not found and "" not in but:
            raise GraphError("is empty", where=where, hint=", or ".join(["name a file", *but]))
        return found if found in but or not folder else str(Path(folder) / found)

    return then(step, **({} if "" in but else {"minLength": 1}))


def nullable(kind: Converter) -> Converter:
    """Null too, which is None."""
    read = lambda value, where, folder: None if value is None else kind.read(value, where, folder)  # noqa: E731
    return replace(kind, read=read, form=or_null(kind.form))


def any_case(kind: Converter) -> Converter:
    """One of some texts in lower case, written in any."""

    def read(value: Any, where: str, folder: str) -> Any:
        return kind.read(value.lower() if isinstance(value, str) else value, where, folder)

    texts = kind.form["enum"]
    pattern = re.sub("[a-z]", lambda letter: f"[{letter[0]}{letter[0].upper()}]", "|".join(texts))
    return replace(kind, read=read, form={**TEXT, **either({"enum": texts}, {"pattern": f"^({pattern})$"})})


def flag(kind: Converter) -> Converter:
    """A section that `true` stands for, with its defaults, and that `false` and null say is none."""
    assert kind.section is not None
    needed = any(each.default is MISSING for each in keys_of(kind.section).values())

    def read(value: Any, where: str, folder: str) -> Any:
        return None if value is None or value is False else kind.read({} if value is True else value, where, folder)

    return replace(kind, read=read, form=either({"const": False} if needed else TRUTH, or_null(kind.form)))


def one_or_list(kind: Converter) -> Converter:
    """A list, or one alone."""
    alone = kind.each
    assert alone is not None

    def read(value: Any, where: str, folder: str) -> Any:
        return kind.read(value, where, folder) if isinstance(value, list) else (alone.read(value, where, folder),)

    return replace(kind, read=read, form=either(alone.form, kind.form))


def as_written(hint: Any) -> Converter:
    """What is declared so, and read by whoever it is for."""
    return replace(converter_of(hint), read=lambda value, where, folder: value)


def _plain(kind: type, form: Form) -> Converter:
    return Converter(lambda value, where, folder: of_kind(value, kind, where), form)


def _number(value: Any, where: str, folder: str) -> float:
    try:
        return float(of_kind(value, float, where))
    except OverflowError:
        raise GraphError(f"{show(value)} is too large", where=where) from None


def _one_of(value: str, values: tuple[str, ...], where: str) -> str:
    if value not in values:
        raise GraphError(f"expected {', '.join(values[:-1])} or {values[-1]}; got {show(value)}", where=where)
    return value


def _listed(kind: Converter) -> Converter:
    def read(value: Any, where: str, folder: str) -> tuple[Any, ...]:
        listed = of_kind(list(value) if isinstance(value, tuple) else value, list, where)  # programs have tuples
        return tuple(kind.read(each, f"{where}[{place}]", folder) for place, each in enumerate(listed))

    return Converter(read, list_of(kind.form), kind.section, kind)


def _by_name(name: Converter, kind: Converter) -> Converter:
    def read(value: Any, where: str, folder: str) -> dict[str, Any]:
        found = {name.read(key, f"{where}.{key}", ""): each for key, each in of_kind(value, dict, where).items()}
        return {key: kind.read(each, f"{where}.{key}", folder) for key, each in found.items()}

    form = {"type": "object", "propertyNames": name.form, "additionalProperties": kind.form}
    return Converter(read, form, kind.section, kind)


_PLAIN: Mapping[type, Converter] = {
    float: Converter(_number, NUMBER),
    **{kind: _plain(kind, form) for kind, form in ((str, TEXT), (int, WHOLE), (bool, TRUTH))},
}
Bytes: TypeAlias = Annotated[
    int, Converter(lambda value, where, folder: read_bytes(value, where), BYTES, write=write_bytes)
]
"""An amount of memory: bytes, or a number and a unit."""
Seconds: TypeAlias = Annotated[float, between(0, above=True)]
"""A time that is not 0."""
FilePath: TypeAlias = Annotated[str, path()]
"""A path; a relative one begins at the folder of the file."""
