"""Top-1 and top-5 of a classifier."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from edgevit.core.image.files import images_in
from edgevit.errors import InputError
from edgevit.evaluate.data import (
    DataSet,
    first_folder,
    ids_of_names,
    names_in_data,
    read_rows,
)
from edgevit.evaluate.report import ClassFigures, Figures, TimedLoop
from edgevit.predictor import Predictor

LISTS = ("labels.csv", "labels.txt")
TOP = 5

Labeled = tuple[Path, int]  # an image and its class id


def classification_figures(predictor: Predictor, data: DataSet, loop: TimedLoop) -> Figures:
    """Count how often the right class is the best one, and among the best five.

    Raises:
        InputError: if the data does not fit, or an image cannot be read.
    """
    names = predictor.spec.class_names
    samples = data.limited(labeled_images(data, names_in_data(data, predictor.spec)))
    hits = np.zeros((len(names), 3), np.int64)  # for each class: images, top-1, top-5
    for (_, class_id), result in loop.answers(
        samples, lambda sample: predictor.classify(sample[0], top_k=TOP)
    ):
        is_right = result.class_ids == class_id
        hits[class_id] += (1, is_right[0], is_right.any())
    count, top1, top5 = hits.sum(axis=0).tolist()
    per_class: list[ClassFigures] = [
        {
            "class_id": class_id,
            "class_name": names[class_id],
            "images": images,
            "top1": first / images,
            "top5": among / images,
        }
        for class_id, (images, first, among) in enumerate(hits.tolist())
        if images
    ]
    return Figures({"top1": top1 / count, "top5": top5 / count}, per_class)


def labeled_images(data: DataSet, names: Sequence[str]) -> list[Labeled]:
    """List the images and their classes, from a list of labels or from folders.

    Args:
        data: the data set.
        names: what it calls the classes, in the order of their ids.

    Raises:
        InputError: if there are none, or their labels are no classes.
    """
    base = first_folder([data.folder / (data.split or "")], "the split")
    listed = data.labels or next((base / name for name in LISTS if _is_list(base / name)), None)
    if listed is None:
        return _from_folders(data.images or base, names)
    return _from_list(listed, [data.images] if data.images else [base, base / "images"], names)


def _is_list(path: Path) -> bool:
    """Tell a list of labels from a file of names, which have no comma."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return "," in file.readline()


def _from_folders(base: Path, names: Sequence[str]) -> list[Labeled]:
    images = {folder: images_in(folder) for folder in sorted(base.iterdir()) if folder.is_dir()}
    filled = {folder.name: found for folder, found in images.items() if found}
    if not filled:
        raise InputError(
            f"no labeled images in {str(base)!r}; a classifier is measured on images in "
            f"folders named after their classes, or listed in {' or '.join(LISTS)} as `file,label`"
        )
    ids = _ids_of(filled, names, f"the folders of {str(base)!r}, one for each class")
    return [(path, ids[name]) for name, found in filled.items() for path in found]


def _from_list(listed: Path, folders: list[Path], names: Sequence[str]) -> list[Labeled]:
    rows = read_rows(listed)
    ids = _ids_of({label: None for _, label in rows}, names, f"the labels in {str(listed)!r}")
    return [(_find(file, folders), ids[label]) for file, label in rows]


def _find(file: str, folders: list[Path]) -> Path:
    for folder in folders:
        if (folder / file).is_file():
            return folder / file
    places = " or ".join(repr(str(folder)) for folder in folders)
    raise InputError(f"the labeled image {file!r} is not in {places}")


def _ids_of(labels: Collection[str], names: Sequence[str], where: str) -> Mapping[str, int]:
    """By name; where no label is a name and all are whole numbers, by class id."""
    if not set(labels).isdisjoint(names) or not all(label.isdecimal() for label in labels):
        return ids_of_names(labels, names, where)
    ids = {label: int(label) for label in labels}
    if max(ids.values()) >= len(names):
        raise InputError(
            f"{where}: class ids go up to {max(ids.values())}, but the model has {len(names)} "
            "classes, from 0 on"
        )
    return ids
