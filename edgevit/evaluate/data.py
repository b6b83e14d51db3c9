"""What the layouts of data sets have in common: folders, pictures, and the names of classes."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgevit.core.image.files import SUFFIXES, Item, evenly_spaced, pictures_in
from edgevit.core.model.spec import ModelSpec
from edgevit.errors import InputError, suggestion

HEADINGS = frozenset(("file", "file_name", "filename", "image", "path", "value"))
SHOWN = 5  # names listed in a message
LABEL_VALUES = 1 << 16  # that a label PNG may have


@dataclass(frozen=True, slots=True)
class DataSet:
    """Where the pictures and the truth about them are; `edgevit.evaluate` describes the layouts.

    Args:
        folder: the data set's folder.
        split: the part of it, such as `val`; None where it has no parts.
        annotations: of detection, the COCO JSON file; None to find it.
        images: folder of the pictures; None to find it.
        labels: of classification, the list of labels; of segmentation, the folder of label PNGs;
            None to find it.
        class_names: what the data calls the model's classes, in the order of their ids; None
            where it calls them as the model does.
        ignore_index: of segmentation, label values that count nowhere; None for 255 alone.
        first_class: of segmentation, the label value of class 0, whose successors are the other
            classes; lower values count nowhere. None for what `labels.csv` says, 0 without one.
        limit: how many pictures to take, evenly spaced over the data set; None for all.
    """

    folder: Path
    split: str | None = None
    annotations: Path | None = None
    images: Path | None = None
    labels: Path | None = None
    class_names: tuple[str, ...] | None = None
    ignore_index: tuple[int, ...] | None = None
    first_class: int | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit must be from 1 up, not {self.limit}")
        values = (*(self.ignore_index or ()), self.first_class or 0)
        if not all(0 <= value < LABEL_VALUES for value in values):
            raise InputError(f"label values are from 0 to {LABEL_VALUES - 1}, not {values}")
        if not self.folder.is_dir():
            raise InputError(f"the data set's folder {str(self.folder)!r} is not there")

    @classmethod
    def of(
        cls,
        data: DataSet | str | os.PathLike[str],
        *,
        split: str | None = None,
        limit: int | None = None,
    ) -> DataSet:
        """Take a data set as it is, or make one of a folder, to which the others then apply."""
        return data if isinstance(data, DataSet) else cls(Path(data), split=split, limit=limit)

    def image_paths(self) -> list[Path]:
        """List all images, whatever the truth about them is and however many `limit` asks for.

        They are in `images` where that is given, or else in the first that is there of
        `folder/images/split`, `folder/split/images` and `folder/split`, so that label PNGs beside
        a folder of images are none of them. Where a COCO file alone makes the split, they are all
        those that its images are among.

        Returns:
            Their paths, sorted.

        Raises:
            InputError: if the split is not there, or holds no image.
        """
        split = self.split or ""
        places = [self.folder / "images" / split, self.folder / split / "images"]
        places.append(self.folder / split)
        if self.annotations is not None or (split and self.coco_files()):
            places += [self.folder / "images", self.folder]
        base = self.images or first_folder(places, "pictures")
        found = pictures_in(base)
        if not found:
            accepted = ", ".join(sorted(SUFFIXES))
            raise InputError(f"no pictures in {str(base)!r}; accepted: files {accepted}")
        return found

    def coco_files(self) -> list[Path]:
        """List what may be the split's COCO JSON, in the folder `annotations` or without it."""
        folder = self.folder
        found = sorted(folder.glob("annotations/*.json")) or sorted(folder.glob("*.json"))
        if self.split is None:
            return found
        return [path for path in found if path.stem in (self.split, f"instances_{self.split}")]

    def limited(self, samples: Sequence[Item]) -> list[Item]:
        """Take `limit` of the samples, evenly spaced: neighbours are often of one class."""
        return evenly_spaced(samples, self.limit or len(samples))


def first_folder(candidates: Iterable[Path], what: str) -> Path:
    """Find the first folder that is there.

    Raises:
        InputError: if none is; names them all and what they should hold.
    """
    tried = list(dict.fromkeys(candidates))
    for folder in tried:
        if folder.is_dir():
            return folder
    places = ", ".join(repr(str(folder)) for folder in tried)
    raise InputError(f"no folder of {what}: {places} not there; say where it is, or which split")


def names_in_data(data: DataSet, spec: ModelSpec) -> tuple[str, ...]:
    """What the data calls the model's classes, in the order of their ids.

    Raises:
        InputError: if the data set gives names, but not one for each class of the model.
    """
    if data.class_names is None:
        return spec.class_names
    if len(data.class_names) != len(spec.class_names):
        raise InputError(
            f"`class_names` has {len(data.class_names)} names, but {spec.name!r} has "
            f"{len(spec.class_names)} classes; it must hold the data's name of each, in order"
        )
    return data.class_names


def ids_of_names(
    found: Iterable[str],
    names: Sequence[str],
    where: str,
    advice: str = "give what the data calls each class with `class_names`",
) -> Mapping[str, int]:
    """Find the class id of each name that occurs in the data.

    Args:
        found: names in the data.
        names: what they may be, in the order of class ids.
        where: says in an error where they were found.
        advice: says in an error what to do about it.

    Raises:
        InputError: if one is no class, or two classes have it.
    """
    ids = {name: index for index, name in enumerate(names)}
    unknown = [name for name in dict.fromkeys(found) if name not in ids]
    if unknown:
        raise InputError(
            f"{where}: {shortened(unknown)} {'is' if len(unknown) == 1 else 'are'} not among the "
            f"model's classes{suggestion(unknown[0], names)}: {shortened(names)}; {advice}"
        )
    twice = [name for name in dict.fromkeys(found) if names.count(name) > 1]
    if twice:
        raise InputError(f"{where}: the model has two classes {twice[0]!r}; use class ids")
    return ids


def read_rows(path: Path) -> list[tuple[str, str]]:
    """Read the first two columns of a CSV file, such as `file,label`; a heading is left out.

    Raises:
        InputError: if the file cannot be read, is empty, or has a line with one column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[field.strip() for field in row] for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        raise InputError(f"the labels {str(path)!r} cannot be read: {exc}") from exc
    if rows and rows[0][0].lower() in HEADINGS:
        del rows[0]
    for row in rows:
        if len(row) < 2:
            raise InputError(f"the labels {str(path)!r} have a line {row[0]!r}, not two columns")
    if not rows:
        raise InputError(f"the labels {str(path)!r} are empty")
    return [(row[0], row[1]) for row in rows]


def shortened(names: Sequence[str]) -> str:
    """Write the first few of the names.

    Example:
        >>> shortened(["a", "b"])
        "'a', 'b'"
        >>> shortened(list("abcdefg"))
        "'a', 'b', 'c', 'd', 'e' and 2 more"
    """
    text = ", ".join(repr(name) for name in names[:SHOWN])
    return text if len(names) <= SHOWN else f"{text} and {len(names) - SHOWN} more"
