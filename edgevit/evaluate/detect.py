"""COCO AP of a detector, of its boxes and of its masks where it has them."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevit.adapters import to_coco
from edgevit.core.image.header import read_header
from edgevit.core.model.spec import ModelSpec
from edgevit.core.tasks.results import Detections
from edgevit.core.tasks.rle import RLE
from edgevit.errors import InputError, require_package
from edgevit.evaluate.data import DataSet, first_folder, ids_of_names, names_in_data, shortened
from edgevit.evaluate.report import Figures, TimedLoop
from edgevit.predictor import Predictor

# Precision is averaged over all recalls, so that rather unsure detections count too.
SCORE_THRESHOLD = 0.05
MAX_DETECTIONS = 100
TURNED = 5  # EXIF orientations from here on swap height and width

OVERALL = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"),
)

Record = dict[str, Any]  # Any: JSON values


@dataclass(frozen=True, slots=True)
class CocoTruth:
    """A COCO data set, checked.

    Args:
        path: the JSON file.
        images: records with `id`, `file_name`, `height` and `width`.
        annotations: records with `image_id`, `category_id`, `bbox`, `area`, `iscrowd` and an `id`
            from 1 up: COCO's own tools take an object with the id 0 for one not found.
        categories: id of each name.
    """

    path: Path
    images: list[Record]
    annotations: list[Record]
    categories: Mapping[str, int]

    @property
    def has_masks(self) -> bool:
        """Whether every object has a mask."""
        return bool(self.annotations) and all(
            annotation.get("segmentation") for annotation in self.annotations
        )


def detection_figures(predictor: Predictor, data: DataSet, loop: TimedLoop) -> Figures:
    """Measure average precision and recall with COCO's own tools.

    Raises:
        InputError: if the data does not fit, or an image cannot be read.
        EdgeVitError: if pycocotools is not installed.
    """
    require_package("pycocotools.cocoeval", "eval", "AP is measured with pycocotools")
    truth = read_truth(_annotations_file(data))
    category_ids = category_ids_of(truth, data, predictor.spec)
    folder = _images_folder(data, truth)
    samples = data.limited(truth.images)
    masks = "rle" if predictor.head.has_masks and truth.has_masks else None

    def predict(image: Record) -> Detections:
        path = folder / image["file_name"]
        _check_size(path, image)
        return predictor.detect(
            path, SCORE_THRESHOLD, MAX_DETECTIONS, class_names=list(category_ids), masks=masks
        )

    records: list[Record] = []
    for image, result in loop.answers(samples, predict):
        records += to_coco(result, image["id"], category_ids)
    image_ids, ids = [image["id"] for image in samples], list(category_ids.values())
    kinds = ("bbox", "segm") if masks else ("bbox",)
    evaluators = {
        kind: _evaluated(truth, records, kind, image_ids=image_ids, category_ids=ids)
        for kind in kinds
    }
    rows = _rows(truth, set(image_ids), category_ids, predictor.spec)
    for kind, evaluator in evaluators.items():
        _add_precisions(rows, category_ids.values(), kind, evaluator)
    overall = {
        f"{kind}_{name}": None if value < 0 else value
        for kind, evaluator in evaluators.items()
        for name, value in zip(OVERALL, evaluator.stats.tolist(), strict=True)
    }
    return Figures(overall, rows, _notes(predictor, truth, rows))


def read_truth(path: Path) -> CocoTruth:
    """Read a COCO JSON file of instances.

    Raises:
        InputError: if it cannot be read or is none.
    """
    try:
        document = json.loads(path.read_bytes())
        annotations = [
            {"iscrowd": 0, "area": record["bbox"][2] * record["bbox"][3]} | record | {"id": number}
            for number, record in enumerate(document["annotations"], 1)
        ]
        categories = [(str(record["name"]), record["id"]) for record in document["categories"]]
        images = [
            {key: record[key] for key in ("id", "file_name", "height", "width")}
            for record in document["images"]
        ]
    except (OSError, ValueError) as exc:
        raise InputError(f"the annotations {str(path)!r} cannot be read: {exc}") from exc
    except (KeyError, TypeError, IndexError) as exc:
        raise InputError(
            f"the annotations {str(path)!r} are not COCO instances, with images (id, file_name, "
            f"height, width), annotations (image_id, category_id, bbox) and categories: {exc!r}"
        ) from exc
    if not images:
        raise InputError(f"the annotations {str(path)!r} name no image")
    if len(dict(categories)) < len(categories):
        raise InputError(f"the annotations {str(path)!r} have two categories of one name")
    return CocoTruth(path, images, annotations, dict(categories))


def category_ids_of(truth: CocoTruth, data: DataSet, spec: ModelSpec) -> dict[str, int]:
    """The data's category id of each of the model's classes that it has.

    Raises:
        InputError: if the model lacks a class of which the data has objects.
    """
    used = {annotation["category_id"] for annotation in truth.annotations}
    needed = [name for name, number in truth.categories.items() if number in used]
    names = names_in_data(data, spec)
    ids_of_names(needed, names, f"the categories of {str(truth.path)!r}")
    known = {
        own: truth.categories[name]
        for own, name in zip(spec.class_names, names, strict=True)
        if name in truth.categories
    }
    if not known or used - set(known.values()):
        raise InputError(f"the annotations {str(truth.path)!r} lack categories of their objects")
    return known


def _annotations_file(data: DataSet) -> Path:
    if data.annotations is not None:
        return data.annotations
    found = data.coco_files()
    if len(found) == 1:
        return found[0]
    layout = "a detector is measured on a COCO JSON in annotations/ and the images it names"
    listed = ", ".join(repr(path.name) for path in found)
    problem = f"has several annotations ({listed})" if found else "has no annotations that fit"
    raise InputError(
        f"{str(data.folder)!r} {problem}: {layout}; choose with `annotations` or `split`"
    )


def _images_folder(data: DataSet, truth: CocoTruth) -> Path:
    if data.images is not None:
        return data.images
    split = data.split or ""
    folders = [data.folder / "images" / split, data.folder / split]
    folders += [data.folder / "images", data.folder, truth.path.parent]
    holding = (folder for folder in folders if (folder / truth.images[0]["file_name"]).is_file())
    return first_folder([next(holding, folders[2])], "the annotations' images")


def _check_size(path: Path, image: Record) -> None:
    """Boxes of an image that was scaled or turned since would be compared with others' pixels."""
    try:
        header = read_header(path.read_bytes())
    except (OSError, InputError) as exc:
        raise InputError(f"the image {str(path)!r} cannot be read: {exc}") from exc
    size = header.size[::-1] if header.orientation >= TURNED else header.size
    if size != (image["height"], image["width"]):
        raise InputError(
            f"the image {str(path)!r} is {size[0]}x{size[1]} (height x width), but its "
            f"annotations are for {image['height']}x{image['width']}"
        )


def _evaluated(
    truth: CocoTruth,
    records: Sequence[Record],
    kind: str,
    *,
    image_ids: list[int],
    category_ids: list[int],
) -> Any:  # pycocotools has no types
    from pycocotools.cocoeval import COCOeval

    found = [
        {**record, "id": number, "iscrowd": 0, "area": AREAS[kind](record)}
        for number, record in enumerate(records, 1)
    ]
    with redirect_stdout(StringIO()):
        evaluator = COCOeval(_index(truth, truth.annotations), _index(truth, found), kind)
        evaluator.params.imgIds = image_ids
        evaluator.params.catIds = category_ids
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


# Area of a detection, which says whether it is small, medium or large.
AREAS: dict[str, Callable[[Record], float]] = {
    "bbox": lambda record: record["bbox"][2] * record["bbox"][3],
    "segm": lambda record: RLE(**record["segmentation"]).area,
}


def _index(truth: CocoTruth, annotations: Sequence[Record]) -> Any:  # pycocotools has no types
    from pycocotools.coco import COCO

    index = COCO()
    index.dataset = {
        "images": truth.images,
        "categories": [{"id": number, "name": name} for name, number in truth.categories.items()],
        "annotations": list(annotations),
    }
    index.createIndex()
    return index


def _rows(
    truth: CocoTruth, image_ids: set[int], category_ids: Mapping[str, int], spec: ModelSpec
) -> list[Record]:
    """What is known of each class before its figures, in the order of `category_ids`."""
    boxes = Counter(
        annotation["category_id"]
        for annotation in truth.annotations
        if annotation["image_id"] in image_ids and not annotation["iscrowd"]
    )
    return [
        {
            "class_id": spec.class_names.index(name),
            "class_name": name,
            "boxes": boxes[number],
        }
        for name, number in category_ids.items()
    ]


def _add_precisions(
    rows: list[Record],
    category_ids: Iterable[int],
    kind: str,
    evaluator: Any,  # pycocotools has no types
) -> None:
    # (IoU thresholds, recalls, categories, areas, numbers of detections): all areas, the most.
    precision = evaluator.eval["precision"][..., 0, -1]
    order = evaluator.params.catIds  # sorted by pycocotools
    for row, number in zip(rows, category_ids, strict=True):
        own = precision[:, :, order.index(number)]
        row[f"{kind}_AP"], row[f"{kind}_AP50"] = _mean(own), _mean(own[0])


def _mean(precision: NDArray[np.float64]) -> float | None:
    """Mean over recalls; -1 stands where there is no object."""
    return float(precision.mean()) if (precision >= 0).all() else None


def _notes(predictor: Predictor, truth: CocoTruth, rows: Sequence[Record]) -> list[str]:
    notes = []
    absent = [row["class_name"] for row in rows if not row["boxes"]]
    if absent:
        notes.append(f"no object is {shortened(absent)}: not in AP")
    known = {row["class_name"] for row in rows}
    unknown = [name for name in predictor.spec.class_names if name not in known]
    if unknown:
        notes.append(f"the data does not know {shortened(unknown)}: not looked for")
    if predictor.head.has_masks and not truth.has_masks:
        notes.append("not every annotation has a mask: no AP of masks")
    return notes
