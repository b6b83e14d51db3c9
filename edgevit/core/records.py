"""Strict reading of records from JSON and YAML: what is not exactly right is a SpecError."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from edgevit.errors import SpecError, suggestion

Record = TypeVar("Record")


def parse_record(cls: type[Record], data: object, where: str) -> Record:
    """Build a dataclass from a mapping that has exactly its fields; lists become tuples.

    Raises:
        SpecError: naming the key that is unknown or missing.
    """
    names = tuple(field.name for field in fields(cls))  # type: ignore[arg-type]  # a dataclass
    record = strict_record(data, names, where)
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in record.items()})


def strict_record(data: object, names: tuple[str, ...], where: str) -> dict[str, Any]:
    """Check that `data` is a mapping with exactly the keys `names`.

    Raises:
        SpecError: naming the key that is unknown or missing.
    """
    require(isinstance(data, dict), f"{where} must be a mapping, not {type(data).__name__}")
    assert isinstance(data, dict)
    for name in data:
        if name not in names:
            meant = suggestion(str(name), names)
            raise SpecError(
                f"{where} has an unknown key {name!r}{meant}; known: {', '.join(names)}"
            )
    for name in names:
        require(name in data, f"{where} lacks the key {name!r}; every key must be given")
    return data


def with_defaults(data: object, defaults: Mapping[str, Any]) -> object:
    """Complete a record with the keys that it need not have; anything else stays as it is.

    Example:
        >>> with_defaults({"a": 1}, {"b": 2})
        {'b': 2, 'a': 1}
    """
    return {**defaults, **data} if isinstance(data, dict) else data


def without_defaults(record: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the keys that say what is true anyway.

    Example:
        >>> without_defaults({"a": 1, "b": 2}, {"b": 2})
        {'a': 1}
    """
    return {k: v for k, v in record.items() if k not in defaults or defaults[k] != v}


def require(condition: object, message: str) -> None:
    """Raise SpecError with `message` unless `condition` is true."""
    if not condition:
        raise SpecError(message)


def require_text(name: str, value: object) -> None:
    """Check that a value is a text that is not empty."""
    require(isinstance(value, str) and value, f"{name} must be a text, not {value!r}")


def require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Check that a value is one of a few."""
    require(value in choices, f"{name} must be one of {', '.join(choices)}, not {value!r}")


def require_numbers(name: str, values: object, count: int, holds: Callable[[Any], object]) -> None:
    """Check that `values` are `count` numbers for each of which `holds` is true."""
    require(
        isinstance(values, tuple | list)
        and len(values) == count
        and all(is_number(value) and holds(value) for value in values),
        f"{name} must be {count} fitting numbers, not {values!r}",
    )


def is_int(value: object) -> bool:
    """Say whether a value is a whole number; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Say whether a value is a number; a bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
