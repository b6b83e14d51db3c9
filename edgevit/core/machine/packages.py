"""Find registered plugins without `importlib.metadata`.

That module imports the mail parser and half a dozen more, 25 to 50 ms that every start of a small
device would pay for reading a few text files. The files and their meaning are the same.

Source: packaging.python.org, "Entry points specification".
"""

import os
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

GROUP = "edgevit.backends"  # the entry-point group of backends


def registered(group: str, paths: Iterable[str] | None = None) -> dict[str, str]:
    """List the plugins of a group.

    Args:
        group: the entry-point group.
        paths: folders that may hold installed distributions; by default `sys.path`.

    Returns:
        `module:attribute` by plugin name. Of two distributions with the same name the first on the
        path counts, as in an import.
    """
    found: dict[str, str] = {}
    for _, text in _entry_point_files(sys.path if paths is None else paths):
        if f"[{group}]" in text:
            for name, value in _section(text, group).items():
                found.setdefault(name, value)
    return found


def registering(group: str, paths: Iterable[str] | None = None) -> set[str]:
    """Name the distributions that have plugins of a group.

    Args:
        group: the entry-point group.
        paths: see `registered`.

    Returns:
        Names as `installed` gives them.
    """
    files = _entry_point_files(sys.path if paths is None else paths)
    return {project for project, text in files if f"[{group}]" in text}


def installed(paths: Iterable[str] | None = None) -> dict[str, str]:
    """List the installed distributions.

    Args:
        paths: see `registered`.

    Returns:
        Version by name, in lower case with hyphens for dots and underscores.
    """
    found: dict[str, str] = {}
    for folder in sys.path if paths is None else paths:
        for information in _distributions(folder or "."):
            version = information.rpartition(".")[0].partition("-")[2].partition("-")[0]
            found.setdefault(_project(information), version)
    return found


def load(value: str) -> object:
    """Import what an entry point names.

    Args:
        value: `module:attribute`, extras in brackets after it ignored.

    Raises:
        ImportError: if the module, or something it imports, is absent.
        AttributeError: if the module lacks the attribute.
    """
    module, _, attributes = value.partition("[")[0].partition(":")
    loaded: object = import_module(module.strip())
    for attribute in filter(None, attributes.strip().split(".")):
        loaded = getattr(loaded, attribute)
    return loaded


def _entry_point_files(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Name and text of `entry_points.txt` of each distribution that has one."""
    seen: set[str] = set()
    for folder in paths:
        for information in _distributions(folder or "."):
            project = _project(information)
            if project not in seen:
                seen.add(project)
                text = _read(Path(folder or ".", information, "entry_points.txt"))
                if text is not None:
                    yield project, text


def _project(information: str) -> str:
    """Spell a distribution's name as the packaging standard compares names."""
    name = information.rpartition(".")[0].partition("-")[0]
    return name.lower().replace(".", "-").replace("_", "-")


def _distributions(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError:  # not a folder, such as a zip file, or not there
        return []
    return sorted(name for name in names if name.endswith((".dist-info", ".egg-info")))


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:  # most distributions have no entry points
        return None


def _section(text: str, group: str) -> dict[str, str]:
    """Read `name = value` lines of one section; other lines, another project's, are passed over."""
    found, section = {}, ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[] ")
        elif section == group and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            found[name.strip()] = value.strip()
    return found
