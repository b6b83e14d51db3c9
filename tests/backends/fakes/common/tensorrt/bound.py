"""Limits a fake class to what the real bindings of one version offer; see read_bindings.py."""

from __future__ import annotations

import functools
import json
from enum import IntEnum
from pathlib import Path

from fake_gpu import settings

VERSION = settings()["version"]
TABLE = json.loads((Path(__file__).parents[2] / "bindings.json").read_text())
REAL = TABLE[next(version for version in TABLE if VERSION.startswith(version[:4]))]

ENUMS = {name: IntEnum(name, members) for name, members in REAL["enums"].items()}


def fits(value, kind):
    """Say whether pybind11 would take a value for a parameter of this type."""
    if kind == "int":
        return hasattr(value, "__index__") and not isinstance(value, (str, bytes))
    if kind in ENUMS:
        return isinstance(value, ENUMS[kind])
    if kind == "buffer":
        return isinstance(value, (bytes, bytearray, memoryview)) or hasattr(value, "__buffer__")
    exact = {"str": str, "bool": bool, "float": float, "tuple": tuple, "list": list}
    if kind in exact:
        return isinstance(value, exact[kind])
    if kind == "Dims":
        return isinstance(value, (tuple, list)) and all(fits(n, "int") for n in value)
    return kind in {parent.__name__ for parent in type(value).__mro__}


def takes(overload, args, kwargs):
    parameters, optional = overload
    names = [name for name, _ in parameters]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    return (
        len(args) <= len(names)
        and set(kwargs) <= set(names)
        and set(names[: len(names) - optional]) <= set(given)
        and all(fits(given[name], kind) for name, kind in parameters if name in given)
    )


def checked(name, method, overloads):
    @functools.wraps(method)
    def call(self, *args, **kwargs):
        if not any(takes(overload, args, kwargs) for overload in overloads):
            raise TypeError(f"{name}(): incompatible arguments {args} {kwargs}; {overloads}")
        return method(self, *args, **kwargs)

    return call


def bound(cls):
    """Remove what this version lacks, and check the arguments of the rest."""
    members = REAL["classes"][cls.__name__]
    for name, value in list(vars(cls).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if name not in members:
            if name != "__init__":
                delattr(cls, name)
        elif callable(value) and isinstance(members[name], list) and members[name]:
            setattr(cls, name, checked(f"{cls.__name__}.{name}", value, members[name]))
    allowed = set(members)

    def assign(self, name, value):
        if not name.startswith("_") and (name not in allowed or members[name] == "ro"):
            raise AttributeError(f"{cls.__name__} has no settable attribute {name!r}")
        object.__setattr__(self, name, value)

    if not issubclass(cls, Interface):
        cls.__setattr__ = assign
    return cls


class Interface:
    """Base of classes that applications implement; these may have attributes of their own."""
