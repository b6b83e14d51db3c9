"""mIoU of a segmenter, at the labels' own resolution."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgevit.core.image.files import images_in
from edgevit.core.tasks.results import Segmentation
from edgevit.errors import InputError
from edgevit.evaluate.data import (
    LABEL_VALUES,
    DataSet,
    first_folder,
    ids_of_names,
    read_rows,
    shortened,
)
from edgevit.evaluate.label_map import LabelMap, read_label_map, require_pillow
from edgevit.evaluate.report import Figures, TimedLoop
from edgevit.predictor import Predictor

IGNORED = (255,)
ADVICE = (
    "name the values that count nowhere with `ignore_index`, or take values as the model's class "
    "ids with `first_class`"
)

Pair = tuple[Path, Path]  # an image and its labels


def segmentation_figures(predictor: Predictor, data: DataSet, loop: TimedLoop) -> Figures:
    """Count in a confusion matrix which class every labeled pixel was answered to be.

    A class that is in neither labels nor answers has no IoU and is in no mean; one that is only
    answered has IoU 0. A pixel that the network did not see counts as answered wrongly.

    Raises:
        InputError: if the data does not fit, or a file cannot be read.
        EdgeVitError: if Pillow is not installed.
    """
    require_pillow()
    names = predictor.spec.class_names
    table = class_of_values(data, names)
    pairs, notes = _pairs(data)
    pairs = data.limited(pairs)
    confusion = np.zeros((len(names), len(names) + 1), np.int64)
    for (_, path), result in loop.answers(pairs, lambda pair: predictor.segment(pair[0])):
        confusion += confusion_matrix(read_label_map(path), result, table, str(path))
    return figures_of_confusion(confusion, names, notes)


def confusion_matrix(
    labels: LabelMap, result: Segmentation, table: NDArray[np.int64], where: str
) -> NDArray[np.int64]:
    """Count the pixels of each class by the class they were answered to be.

    Args:
        labels: uint8 or uint16 (H, W).
        result: its class map is brought to the labels' size where that is another.
        table: see `class_of_values`.
        where: names the labels in an error.

    Returns:
        int64 (C, C + 1): a row for each class in the labels, a column for each answer; the last is
        for pixels that the network did not see.

    Raises:
        InputError: if a label value is neither a class nor to be ignored, or the labels are of
            another shape than the image.
    """
    count = len(result.class_names)
    answers = np.minimum(_at_size(result.class_map, labels.shape, where), count).reshape(-1)
    rows = table[labels.reshape(-1)]
    cells = np.bincount(rows * (count + 1) + answers, minlength=(count + 2) * (count + 1))
    confusion = cells.reshape(count + 2, count + 1)  # the last two rows: ignored, unknown
    if confusion[-1].any():
        values = np.unique(labels.reshape(-1)[rows == count + 1]).tolist()
        raise InputError(
            f"the labels {where!r} have the value {values[0]}, which is none of the model's "
            f"{count} classes; if it counts nowhere, say so with `ignore_index`"
        )
    return confusion[:count]


def class_of_values(data: DataSet, names: Sequence[str]) -> NDArray[np.int64]:
    """Find the class id that each label value stands for.

    Args:
        data: says which values count nowhere, and which is class 0; or has a file `labels.csv`,
            `value,name`, that names them.
        names: of the model's classes.

    Returns:
        int64 (65536,): class ids, C for values that count nowhere, C + 1 for those of no class.

    Raises:
        InputError: if a name in `labels.csv` is no class of the model, and its value not ignored.
    """
    count = len(names)
    ignored = IGNORED if data.ignore_index is None else data.ignore_index
    table = np.full(LABEL_VALUES, count + 1, np.int64)
    listed = data.folder / "labels.csv"
    if data.first_class is None and listed.is_file():
        named = {int(value): name for value, name in read_rows(listed) if value.isdecimal()}
        counted = {value: name for value, name in named.items() if value not in ignored}
        ids = ids_of_names(counted.values(), names, f"the names in {str(listed)!r}", ADVICE)
        table[list(counted)] = [ids[name] for name in counted.values()]
    else:
        first = data.first_class or 0
        table[:first] = count
        table[first : first + count] = np.arange(count)[: LABEL_VALUES - first]
    table[list(ignored)] = count
    return table


def figures_of_confusion(
    confusion: NDArray[np.int64], names: Sequence[str], notes: Sequence[str] = ()
) -> Figures:
    """Reduce a confusion matrix to IoU and accuracy, for each class and over all.

    Args:
        confusion: int64 (C, C + 1), see `confusion_matrix`.
        names: the names of the C classes, in the order of their ids.
        notes: what the reader of the figures should know of the data set, a sentence each.
    """
    labeled = confusion.sum(axis=1)
    right = np.diagonal(confusion)
    union = labeled + confusion[:, :-1].sum(axis=0) - right
    iou, accuracy = _shares(right, union), _shares(right, labeled)
    overall = {
        "mIoU": _mean(iou),
        "mean_accuracy": _mean(accuracy),
        "pixel_accuracy": _shares(right.sum(keepdims=True), labeled.sum(keepdims=True))[0],
    }
    per_class = [
        {"class_id": index, "class_name": name, "pixels": pixels, "IoU": own, "accuracy": hit}
        for index, (name, pixels, own, hit) in enumerate(
            zip(names, labeled.tolist(), iou, accuracy, strict=True)
        )
    ]
    absent = [name for name, own in zip(names, iou, strict=True) if own is None]
    added = [f"no pixel is or was answered {shortened(absent)}: not in mIoU"] if absent else []
    unseen = confusion[:, -1].sum() / max(1, labeled.sum())
    if unseen:
        added.append(f"the network did not see {unseen:.2%} of the pixels: counted as wrong")
    return Figures(overall, per_class, [*notes, *added])


def _pairs(data: DataSet) -> tuple[list[Pair], list[str]]:
    split = data.split or ""
    source = data.images or first_folder([data.folder / "images" / split], "images")
    folder = data.labels or first_folder([data.folder / "labels" / split], "label PNGs")
    images = {path.relative_to(source).with_suffix(""): path for path in images_in(source)}
    labels = sorted(folder.rglob("*.png"))
    pairs = []
    for path in labels:
        key = path.relative_to(folder).with_suffix("")
        if key not in images:
            raise InputError(f"the labels {str(path)!r} have no image {str(source / key)!r}.*")
        pairs.append((images[key], path))
    if not pairs:
        raise InputError(
            f"no label PNGs in {str(folder)!r}; a segmenter is measured on images in "
            "images/[split/] and PNGs of class ids of the same names in labels/[split/]"
        )
    spare = len(images) - len(pairs)
    return pairs, [f"images without labels, left out: {spare}"] if spare else []


def _at_size(
    class_map: NDArray[np.integer], size: tuple[int, ...], where: str
) -> NDArray[np.integer]:
    """Take the nearest pixel's class where the labels are of another resolution."""
    if class_map.shape == size:
        return class_map
    (height, width), (rows, columns) = class_map.shape, size
    if abs(height * columns - width * rows) > max(height, width, rows, columns):
        raise InputError(
            f"the labels {where!r} are of size {size}, their image {class_map.shape}: "
            "not the same part of the scene"
        )
    resized = cv2.resize(class_map, (columns, rows), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, class_map.dtype)


def _shares(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> list[float | None]:
    pairs = zip(parts.tolist(), wholes.tolist(), strict=True)
    return [part / whole if whole else None for part, whole in pairs]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
