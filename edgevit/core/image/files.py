"""Find the image files of a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"))

Item = TypeVar("Item")


def images_in(folder: Path) -> list[Path]:
    """List the images in a folder and its folders, sorted."""
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
    )


def evenly_spaced(items: Sequence[Item], count: int) -> list[Item]:
    """Take `count` of the items, or all where there are fewer, evenly spaced over them.

    Example:
        >>> evenly_spaced("abcdefgh", 4)
        ['a', 'c', 'e', 'g']
    """
    count = min(len(items), count)
    return [items[index * len(items) // count] for index in range(count)]
