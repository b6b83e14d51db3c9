"""Data sets of three colored pictures, on which the tiny models of `tests/data` are right."""

import json

import cv2
import numpy as np

COLORS = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0)}
MODELS = {
    "classify": "tiny.onnx",
    "detect": "tiny_anchors.onnx",
    "segment": "tiny_logits.onnx",
}
SIDE, BOX = 32, [8, 16, 8, 8]  # x, y, width, height: one cell of the detector


def write_tiny_data(task, folder):
    """Write a data set for a task, one picture of each color; answer its folder."""
    WRITERS[task](folder)
    return folder


def _write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.asarray(pixels, np.uint8))


def _write_classes(folder):
    for name, color in COLORS.items():
        _write(folder / name / "1.png", np.full((SIDE, SIDE, 3), color))


def _write_boxes(folder):
    x, y, width, height = BOX
    document = {"images": [], "annotations": [], "categories": []}
    for number, (name, color) in enumerate(COLORS.items(), 1):
        pixels = np.zeros((SIDE, SIDE, 3))
        pixels[y : y + height, x : x + width] = color
        _write(folder / "images" / f"{name}.png", pixels)
        document["categories"].append({"id": number, "name": name})
        document["images"].append(
            {"id": number, "file_name": f"{name}.png", "height": SIDE, "width": SIDE}
        )
        document["annotations"].append(
            {"id": number, "image_id": number, "category_id": number, "bbox": BOX}
        )
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances.json").write_text(json.dumps(document))


def _write_maps(folder):
    for value, (name, color) in enumerate(COLORS.items()):
        _write(folder / "images" / f"{name}.png", np.full((SIDE, SIDE, 3), color))
        _write(folder / "labels" / f"{name}.png", np.full((SIDE, SIDE), value))


WRITERS = {"classify": _write_classes, "detect": _write_boxes, "segment": _write_maps}
