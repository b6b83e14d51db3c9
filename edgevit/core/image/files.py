"""Find the picture files of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from edgevit.errors import InputError

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"))

Item = TypeVar("Item")


def pictures_in(folder: Path) -> list[Path]:
    """List the pictures in a folder and its folders, sorted."""
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
    )


def pictures_of(folder: Path, split: str | None = None, limit: int | None = None) -> list[Path]:
    """List the pictures of a data set whose truth does not matter.

    Args:
        folder: a folder of pictures, or of any layout that `edgevit eval` reads: where it has a
            folder `images`, only what is in there is a picture, and not, say, its label PNGs.
        split: the part of it, such as `val`; None for all.
        limit: how many to take, spread evenly; None for all.

    Returns:
        Their paths, sorted.

    Raises:
        InputError: if the folder or the split is not there, holds no picture, or `limit` is not
            from 1 up.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit must be from 1 up, not {limit}")
    if not folder.is_dir():
        raise InputError(f"the folder of pictures {str(folder)!r} is not there")
    images = folder / "images"
    base = (images if images.is_dir() else folder) / (split or "")
    pictures = pictures_in(base)
    if not pictures:
        accepted = ", ".join(sorted(SUFFIXES))
        raise InputError(f"no pictures in {str(base)!r}; accepted: files {accepted}")
    return spread(pictures, limit or len(pictures))


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """Take `count` of the items, or all where there are fewer, spread evenly over them.

    Example:
        >>> spread("abcdefgh", 4)
        ['a', 'c', 'e', 'g']
    """
    count = min(len(items), count)
    return [items[index * len(items) // count] for index in range(count)]
