"""Names that a module lends from others, which are imported when a name is first used."""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from typing import Any


def lend(
    facade: str, homes: Mapping[str, Sequence[str]], modules: Collection[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make `__getattr__`, `__dir__` and `__all__` of a module.

    Args:
        facade: the module's name.
        homes: the names that it lends, by the module that each is defined in.
        modules: modules of the package `facade` that are loaded on first use too.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def get(name: str) -> Any:  # any public name
        if name in modules:
            return import_module(f"{facade}.{name}")
        if name not in home_of:
            raise AttributeError(f"module {facade!r} has no attribute {name!r}")
        value = getattr(import_module(home_of[name]), name)
        setattr(sys.modules[facade], name, value)  # found without this function from now on
        return value

    return get, lambda: sorted({*vars(sys.modules[facade]), *home_of, *modules}), sorted(home_of)
