"""Class names that go into a model's spec."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from edgevit.core.errors import ExportError

IMAGENET_CLASSES = 1000


def read_class_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read class names from a file.

    Args:
        path: UTF-8 text, one name a line in index order; trailing blank lines do not count.

    Returns:
        The names.

    Raises:
        ExportError: if the file cannot be read, is empty, or holds a blank line between names.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise ExportError(f"class names cannot be read from {str(path)!r}: {exc}") from exc
    names = tuple(line.strip() for line in text.rstrip().splitlines())
    if not names or not all(names):
        raise ExportError(f"{str(path)!r} must hold one class name a line, without blank lines")
    return names


def default_class_names(num_classes: int) -> tuple[str, ...]:
    """Name classes that the user gave no names: ImageNet's 1000, else `class 0`, `class 1`."""
    if num_classes == IMAGENET_CLASSES:
        text = (files("edgevit") / "assets/imagenet_classes.txt").read_text(encoding="utf-8")
        return tuple(text.splitlines())
    return tuple(f"class {index}" for index in range(num_classes))
