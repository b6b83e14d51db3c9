"""Strict reading of records from JSON and YAML: what is not exactly right is a SpecError.

A record is a dataclass. Its annotations say what a document holds under the names of its fields,
and `parse` follows them; ranges, which annotations cannot say, are checked in `__post_init__` with
the `require_` functions.
"""

import json
import reprlib
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from edgevit.errors import SpecError, suggestion

Record = TypeVar("Record")
Read = Callable[[Any, str], Any]  # a JSON value and its key path -> what the record holds

OPTIONAL = {"optional": True}
"""Metadata of a field whose key a document has only where its value is not the default."""


def parse(cls: type[Record], data: object, where: str, *, beside: tuple[str, ...] = ()) -> Record:
    """Build a dataclass from a mapping that holds what its annotations say.

    Every key must be given, but those of `OPTIONAL` fields. Lists become tuples. A whole number
    may stand for a float and stays what it is; a bool is no number. A field of a type that JSON
    does not have is `Annotated` with the function that reads it, a `Read`.

    Args:
        cls: the dataclass. Messages of its `__post_init__` begin with the name of a field.
        data: the mapping.
        where: what messages call the mapping; key paths such as `spec.input.size[0]` begin with it.
        beside: further keys that the mapping must have and the caller reads.

    Raises:
        SpecError: naming the key that is unknown, missing or wrong.

    Example:
        >>> from dataclasses import make_dataclass
        >>> parse(make_dataclass("Point", [("at", tuple[float, ...])]), {"at": [1, 2.5]}, "point")
        Point(at=(1, 2.5))
    """
    readers = _readers(cls)  # type: ignore[arg-type]  # a class is hashable
    _require_keys(cls, data, where, dict.fromkeys((*beside, *readers)))
    assert isinstance(data, Mapping)
    values = {k: read(data[k], f"{where}.{k}") for k, read in readers.items() if k in data}
    try:
        return cls(**values)
    except SpecError as exc:
        raise SpecError(f"{where}.{exc}") from exc


def parse_json(text: str, where: str) -> Any:  # any JSON value; callers check its shape
    """Read one JSON document.

    Raises:
        SpecError: if it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise SpecError(f"{where} is not JSON: {exc}") from exc


def without_defaults(cls: type, record: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of what is written of a `cls` the keys that say what is true anyway."""
    defaults = _optional(cls)
    return {k: v for k, v in record.items() if k not in defaults or defaults[k] != v}


def require(condition: object, message: str) -> None:
    """Raise SpecError with `message` unless `condition` is true."""
    if not condition:
        raise SpecError(message)


def require_value(name: str, value: object, holds: object, accepted: str) -> None:
    """Check that a condition on a value holds; `accepted` says in words which one."""
    if not holds:
        raise SpecError(f"{name} must be {accepted}, not {shown(value)}")


def require_text(name: str, value: object) -> None:
    """Check that a value is a text that is not empty and that UTF-8 can write."""
    require_value(name, value, isinstance(value, str) and value, "a text that is not empty")
    try:
        str(value).encode()
    except UnicodeEncodeError as exc:
        raise SpecError(f"{name} must be Unicode text, not {shown(value)}: {exc.reason}") from exc


def require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Check that a value is one of a few."""
    require_value(name, value, value in choices, f"one of {', '.join(choices)}")


def require_count(name: str, value: object) -> None:
    """Check that a value counts something that is there."""
    require_value(name, value, is_count(value), "a whole number from 1 up")


def require_share(name: str, value: Any) -> None:  # any JSON value
    """Check that a value is a number from 0 to 1."""
    require_value(name, value, is_number(value) and 0 <= value <= 1, "from 0 to 1")


def require_numbers(
    name: str, values: object, holds: Callable[[Any], object], count: int | None = None
) -> None:
    """Check for each of `count` values, or of one or more, that `holds` is true.

    Args:
        name: of the values, for the message.
        values: a tuple or a list.
        holds: `is_count`, `is_positive` or `is_finite`.
        count: how many values there must be; None for one or more.
    """
    require_value(
        name,
        values,
        isinstance(values, tuple | list)
        and len(values) == (count or max(1, len(values)))
        and all(map(holds, values)),
        f"{count or 'one or more'} {_NUMBERS[holds]}",
    )


def is_int(value: object) -> bool:
    """Say whether a value is a whole number; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Say whether a value is a number; a bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_count(value: Any) -> bool:  # anything
    """Say whether a value is a whole number from 1 up."""
    return is_int(value) and value > 0


def is_finite(value: Any) -> bool:  # anything
    """Say whether a value is a number that a float can be; a whole number may be too large."""
    return is_number(value) and abs(value) <= sys.float_info.max


def is_positive(value: Any) -> bool:  # anything
    """Say whether a value is a finite number greater than 0."""
    return is_finite(value) and value > 0


def shown(value: object) -> str:
    """Describe a value for a message: as `repr` does, but short, and whatever it is.

    Example:
        >>> shown([[[[[[[[0]]]]]]]])
        '[[[[[[[...]]]]]]]'
        >>> shown(16**9999)
        'a whole number of 39997 bits'
    """
    return _SHORT.repr(value)


@cache
def _readers(cls: type) -> dict[str, Read]:
    kinds: dict[str, Any] = {field.name: field.type for field in fields(cls)}
    return {name: _reader_of(kind, cls.__module__) for name, kind in kinds.items()}


@cache
def _reader_of(annotation: Any, module: str) -> Read:
    """Make what reads a field; `typing.get_type_hints` would cost each start three times that."""
    is_text = isinstance(annotation, str)  # as it is under `from __future__ import annotations`
    return _reader(eval(annotation, vars(sys.modules[module])) if is_text else annotation)


@cache
def _optional(cls: type) -> dict[str, Any]:
    """Defaults by key of the fields whose key need not be given."""
    return {field.name: field.default for field in fields(cls) if field.metadata == OPTIONAL}


def _require_keys(cls: type, data: object, where: str, known: Collection[str]) -> None:
    require(isinstance(data, Mapping), f"{where} must be a mapping, not {type(data).__name__}")
    assert isinstance(data, Mapping)
    for name in data:
        if name not in known:
            meant = suggestion(name, known) if isinstance(name, str) else ""
            listed = ", ".join(known)
            raise SpecError(f"{where} has an unknown key {shown(name)}{meant}; known: {listed}")
    for name in known:
        if name not in data and name not in _optional(cls):
            raise SpecError(f"{where} lacks the key {name!r}; every key must be given")


def _reader(kind: Any) -> Read:  # an annotation has no type
    """Make what reads values of one annotation."""
    if kind in _SCALARS:
        return partial(_read_scalar, *_SCALARS[kind])
    if isinstance(kind, type) and is_dataclass(kind):
        return partial(parse, kind)
    return _MAKERS[get_origin(kind)](*get_args(kind))


def _read_scalar(holds: Callable[[object], object], accepted: str, value: Any, where: str) -> Any:
    require_value(where, value, holds(value), accepted)
    return value


def _or_null(kind: Any, null: type) -> Read:
    assert null is NoneType, "a field is of one type, or of one type and None"
    if kind in _SCALARS:
        holds, accepted = _SCALARS[kind]
        return partial(_read_scalar, lambda v: v is None or holds(v), f"{accepted} or null")
    read = _reader(kind)
    return lambda value, where: None if value is None else read(value, where)


def _tuple(*kinds: Any) -> Read:
    many = kinds[-1] is Ellipsis
    readers = [_reader(kind) for kind in kinds if kind is not Ellipsis]
    accepted = "a list" if many else f"a list of {len(readers)}"

    def read(value: Any, where: str) -> tuple[Any, ...]:
        fits = isinstance(value, list | tuple) and (many or len(value) == len(readers))
        require_value(where, value, fits, accepted)
        each = zip(readers * len(value) if many else readers, value, strict=True)
        return tuple([reader(item, f"{where}[{at}]") for at, (reader, item) in enumerate(each)])

    return read


def _mapping(_: type[str], kind: Any) -> Read:
    reader = _reader(kind)

    def read(value: Any, where: str) -> dict[str, Any]:
        fits = isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
        require_value(where, value, fits, "a mapping with texts as keys")
        return {name: reader(item, f"{where}[{shown(name)}]") for name, item in value.items()}

    return read


_SCALARS: dict[Any, tuple[Callable[[object], object], str]] = {
    Any: (lambda _: True, "any value"),
    object: (lambda _: True, "any value"),
    str: (lambda value: isinstance(value, str), "a text"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (is_int, "a whole number"),
    float: (is_number, "a number"),
}

_MAKERS: dict[Any, Callable[..., Read]] = {
    Annotated: lambda _, read: read,
    Mapping: _mapping,
    Union: _or_null,
    UnionType: _or_null,
    tuple: _tuple,
}

_NUMBERS: dict[Any, str] = {
    is_count: "whole numbers from 1 up",
    is_positive: "positive numbers",
    is_finite: "finite numbers",
}


class _Short(reprlib.Repr):
    """Python refuses to write a very long whole number, so its length has to do."""

    def repr_int(self, x: int, level: int) -> str:
        bits = x.bit_length()
        return repr(x) if bits <= 128 else f"a whole number of {bits} bits"


_SHORT = _Short()
_SHORT.maxstring = _SHORT.maxother = 80
