"""Results in other projects' forms."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgevit.core.tasks.results import Detections
from edgevit.core.tasks.rle import RLE
from edgevit.errors import InputError


def to_supervision(detections: Detections) -> Any:  # supervision is not a dependency
    """Turn detections into those of `supervision`, whose annotators and trackers take them.

    Args:
        detections: RLE masks are decoded.

    Returns:
        `supervision.Detections`; class names are in `data["class_name"]`.

    Raises:
        ImportError: if `supervision` is not installed.
    """
    from supervision import Detections as Supervised

    masks = detections.masks
    if isinstance(masks, tuple):
        decoded = [mask.to_mask() if isinstance(mask, RLE) else mask for mask in masks]
        masks = np.stack(decoded) if decoded else None
    return Supervised(
        xyxy=detections.boxes,
        mask=masks,
        confidence=detections.scores,
        class_id=detections.class_ids,
        data={"class_name": np.array(detections.class_names, dtype=str)},
    )


def to_coco(
    detections: Detections, image_id: int, category_ids: Mapping[str, int] | None = None
) -> list[dict[str, Any]]:
    """Describe the detections of one image as COCO results.

    Args:
        detections: what was found in the image, in its own pixels.
        image_id: the image's id in the data set.
        category_ids: the data set's id of each class name; None for the model's class ids.

    Returns:
        One record for each detection: image_id, category_id, bbox (x, y, width, height), score,
        and segmentation where there are masks.

    Raises:
        InputError: if a class has no category id.
    """
    document = detections.to_dict()
    records = []
    for index, (x0, y0, x1, y1) in enumerate(document["boxes"]):
        record = {
            "image_id": image_id,
            "category_id": _category(detections, index, category_ids),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": document["scores"][index],
        }
        if "masks" in document:
            record["segmentation"] = document["masks"][index]
        records.append(record)
    return records


def write_coco(
    path: str | os.PathLike[str],
    results: Iterable[tuple[int, Detections]],
    category_ids: Mapping[str, int] | None = None,
) -> None:
    """Write the detections of many images as one COCO results file.

    Args:
        path: the JSON file; overwritten.
        results: (image id, detections) of each image.
        category_ids: see `to_coco`.
    """
    records = [
        record
        for image_id, detections in results
        for record in to_coco(detections, image_id, category_ids)
    ]
    Path(path).write_text(json.dumps(records), encoding="utf-8")


def _category(detections: Detections, index: int, category_ids: Mapping[str, int] | None) -> int:
    if category_ids is None:
        return int(detections.class_ids[index])
    name = detections.class_names[index]
    if name not in category_ids:
        raise InputError(f"category_ids has no id for the class {name!r}")
    return category_ids[name]
