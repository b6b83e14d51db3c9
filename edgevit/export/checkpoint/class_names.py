"""Class names that go into a model's spec."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from edgevit.errors import ExportError

# Names of the official data sets' classes, by task and number.
DATA_SETS = {
    ("classify", 1000): "imagenet_classes.txt",
    ("detect", 80): "coco_classes.txt",
    ("segment", 150): "ade20k_classes.txt",
}


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


def default_class_names(num_classes: int, task: str = "classify") -> tuple[str, ...]:
    """Name classes that the user gave no names.

    Args:
        num_classes: number of classes.
        task: what the model does with them.

    Returns:
        The names of the task's official data set, where it has as many classes; else `class 0`,
        `class 1` and so on.
    """
    file = DATA_SETS.get((task, num_classes))
    if file is None:
        return tuple(f"class {index}" for index in range(num_classes))
    return tuple((files("edgevit") / "assets" / file).read_text(encoding="utf-8").splitlines())
