"""Class names that go into a model's spec."""

import os
from importlib.resources import files
from pathlib import Path

from edgevit.errors import ExportError

# Names of the official data sets' classes, by their number.
DATA_SETS = {1000: "imagenet_classes.txt", 80: "coco_classes.txt", 150: "ade20k_classes.txt"}


def read_class_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read class names from a file.

    Args:
        path: UTF-8 text, one name a line in index order; trailing blank lines do not count.

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


def default_class_names(num_classes: int, official: int = 1000) -> tuple[str, ...]:
    """Name classes that the user gave no names.

    Args:
        num_classes: number of classes.
        official: number of classes of the data set that the model was published with.

    Returns:
        The names of that data set's classes, where the model has as many; else `class 0`,
        `class 1` and so on.
    """
    file = DATA_SETS.get(num_classes)
    if file is None or num_classes != official:
        return tuple(f"class {index}" for index in range(num_classes))
    return tuple((files("edgevit") / "assets" / file).read_text(encoding="utf-8").splitlines())
