"""Playing cards: reading the data set, drawing augmented pictures of it.

Boxes are float32 (N, 4), xyxy, in pixels of the picture at hand.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from augment import Image, jitter_color, pad_and_cut
from numpy.typing import NDArray

TEST_SIZE = 384  # the longer side of a picture as the detector will see it
SCALES = (0.6, 1.35)  # of training pictures, over their size in the test
INSIDE = 0.75  # share of windows that reach no further beyond the picture than they must
WHOLE = 0.5  # share of batches of whole pictures, which show what surrounds the cards in the test
WHOLE_SCALES = (0.7, 1.0)
MOSAIC = 0.5  # share of the other pictures that four parts make up
KEEP, DROP = 0.45, 0.05  # visible share of a box: object, neither, or background

Boxes = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture and what is in it.

    Args:
        image: uint8 (H, W, 3), BGR.
        boxes: float32 (N, 4).
        class_ids: int64 (N,), from 0; -1 is neither an object nor background.
    """

    image: Image
    boxes: Boxes
    class_ids: NDArray[np.int64]


def read_scenes(folder: Path, split: str) -> list[Scene]:
    """Every picture of a split; class ids are the places of the sorted category ids."""
    annotations = json.loads((folder / "annotations" / f"instances_{split}.json").read_text())
    places = {c: i for i, c in enumerate(sorted(c["id"] for c in annotations["categories"]))}
    found = defaultdict(list)
    for entry in annotations["annotations"]:
        found[entry["image_id"]].append((*entry["bbox"], places[entry["category_id"]]))
    scenes = []
    for picture in annotations["images"]:
        image = cv2.imread(str(folder / "images" / picture["file_name"]), cv2.IMREAD_COLOR)
        rows = np.array(found[picture["id"]], np.float32).reshape(-1, 5)
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        scenes.append(Scene(image, boxes, rows[:, 4].astype(np.int64)))
    return scenes


def draw_examples(
    scenes: list[Scene], size: int, count: int, rng: np.random.Generator
) -> list[Scene]:
    """Augmented pictures of one size.

    Either `count` parts of `size` by `size` pixels, or whole pictures of the test's size, as many
    as have about the same number of pixels.
    """
    if rng.random() < WHOLE:
        count = max(1, round(count * size**2 / TEST_SIZE**2))
        drawn = [draw_whole(scenes, rng) for _ in range(count)]
    else:
        drawn = [draw_window(scenes, size, rng) for _ in range(count)]
    return [replace(scene, image=jitter_color(scene.image, rng)) for scene in drawn]


def draw_whole(scenes: list[Scene], rng: np.random.Generator) -> Scene:
    """A whole picture, turned, scaled and padded to the test's size."""
    scene = draw_scaled(scenes, WHOLE_SCALES, rng)
    top, left = (int(rng.integers(side - TEST_SIZE, 1)) for side in scene.image.shape[:2])
    return cut(scene, top, left, (TEST_SIZE, TEST_SIZE))


def draw_window(scenes: list[Scene], size: int, rng: np.random.Generator) -> Scene:
    """A part of a picture, or of four, of `size` by `size` pixels."""
    if rng.random() >= MOSAIC:
        return draw_part(scenes, (size, size), rng)
    row, column = rng.integers(size // 4, 3 * size // 4, 2)
    corners = [
        (0, 0, row, column),
        (0, column, row, size),
        (row, 0, size, column),
        (row, column, size, size),
    ]
    parts = [draw_part(scenes, (y2 - y1, x2 - x1), rng) for y1, x1, y2, x2 in corners]
    return mosaic(parts, corners, size)


def mosaic(parts: list[Scene], corners: list[tuple[int, int, int, int]], size: int) -> Scene:
    """Put scenes into their places (top, left, bottom, right) of a picture."""
    image = np.empty((size, size, 3), np.uint8)
    for part, (top, left, bottom, right) in zip(parts, corners, strict=True):
        image[top:bottom, left:right] = part.image
    boxes = [
        part.boxes + np.array((left, top, left, top), np.float32)
        for part, (top, left, _, _) in zip(parts, corners, strict=True)
    ]
    return Scene(image, np.concatenate(boxes), np.concatenate([part.class_ids for part in parts]))


def draw_part(scenes: list[Scene], size: tuple[int, int], rng: np.random.Generator) -> Scene:
    """A part (height, width) of a random picture, turned and scaled, around a card."""
    scene = draw_scaled(scenes, SCALES, rng)
    focus = scene.boxes[rng.integers(len(scene.boxes))]
    center = (focus[:2] + focus[2:]) / 2 + rng.uniform(-0.35, 0.35, 2) * size[::-1]
    corner = np.round(center - np.array(size[::-1]) / 2).astype(int)
    if rng.random() < INSIDE:
        room = np.array(scene.image.shape[1::-1]) - size[::-1]
        corner = np.clip(corner, np.minimum(room, 0), np.maximum(room, 0))
    left, top = corner
    return cut(scene, top, left, size)


def draw_scaled(
    scenes: list[Scene], scales: tuple[float, float], rng: np.random.Generator
) -> Scene:
    """A random picture, turned by quarters; its longer side is the test's, times the scale."""
    scene = turn(scenes[rng.integers(len(scenes))], int(rng.integers(4)))
    scale = np.exp(rng.uniform(*np.log(scales))) * TEST_SIZE / max(scene.image.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(scene.image, None, fx=scale, fy=scale, interpolation=method)
    return Scene(image, (scene.boxes * scale).astype(np.float32), scene.class_ids)


def turn(scene: Scene, quarters: int) -> Scene:
    """Rotate by quarter turns, counter-clockwise."""
    image, boxes = scene.image, scene.boxes
    for _ in range(quarters):
        width = image.shape[1]
        image = np.rot90(image)
        x1, y1, x2, y2 = boxes.T
        boxes = np.stack([y1, width - x2, y2, width - x1], axis=1)
    return replace(scene, image=np.ascontiguousarray(image), boxes=boxes)


def cut(scene: Scene, top: int, left: int, size: tuple[int, int]) -> Scene:
    """The window of `size` (height, width) at a place, which may reach beyond the picture."""
    height, width = size
    boxes = scene.boxes - np.array((left, top, left, top), np.float32)
    seen = np.clip(boxes, 0, np.array((width, height, width, height), np.float32))
    share = _areas(seen) / np.maximum(_areas(boxes), 1)
    class_ids = np.where(share < KEEP, -1, scene.class_ids)
    is_kept = share > DROP
    return Scene(
        pad_and_cut(scene.image, top, left, size, fill=114), seen[is_kept], class_ids[is_kept]
    )


def _areas(boxes: Boxes) -> NDArray[np.float32]:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
