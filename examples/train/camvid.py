"""CamVid street scenes: reading the data set, drawing augmented pictures of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from augment import Image, jitter_color, pad_and_cut

NUM_CLASSES = 11
IGNORED = 255
SCALES = (0.5, 1.15)  # of training pictures, over their size of 480x360
FOCUSED = 0.5  # share of pictures around a place of a class that is drawn first


@dataclass(frozen=True, eq=False)
class Street:
    """A picture and its classes.

    Args:
        image: uint8 (H, W, 3), BGR.
        labels: uint8 (H, W), classes from 0, or IGNORED.
    """

    image: Image
    labels: Image


def read_streets(folder: Path, splits: list[str]) -> list[Street]:
    """Every picture of the splits, in their lists' order."""
    return [
        _read(folder, split, name)
        for split in splits
        for name in (folder / f"{split}.txt").read_text().split()
    ]


def _read(folder: Path, split: str, name: str) -> Street:
    image = cv2.imread(str(folder / "images" / split / f"{name}.jpg"), cv2.IMREAD_COLOR)
    labels = cv2.imread(str(folder / "labels" / split / f"{name}.png"), cv2.IMREAD_UNCHANGED)
    return Street(image, np.where(labels < NUM_CLASSES, labels, IGNORED).astype(np.uint8))


def class_weights(streets: list[Street]) -> np.ndarray:
    """Weights of the classes, float32 (C,): the inverse root of their share, with mean 1."""
    counts = sum(np.bincount(street.labels.ravel(), minlength=256) for street in streets)
    roots = np.sqrt(counts[:NUM_CLASSES].sum() / counts[:NUM_CLASSES])
    return (roots / roots.mean()).astype(np.float32)


def draw_example(streets: list[Street], size: int, rng: np.random.Generator) -> Street:
    """One augmented picture of `size` by `size` pixels: a scaled part of a street, mirrored."""
    street = streets[rng.integers(len(streets))]
    scale = float(np.exp(rng.uniform(*np.log(SCALES))))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(street.image, None, fx=scale, fy=scale, interpolation=method)
    labels = cv2.resize(street.labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    top, left = draw_place(labels, size, rng)
    image = pad_and_cut(image, top, left, (size, size), fill=114)
    labels = pad_and_cut(labels, top, left, (size, size), fill=IGNORED)
    if rng.random() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return Street(jitter_color(image, rng), np.ascontiguousarray(labels))


def draw_place(labels: Image, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Top and left of a window inside `labels` (around them, where they are smaller)."""
    room = np.array(labels.shape) - size
    low, high = np.minimum(room, 0), np.maximum(room, 0)
    if rng.random() >= FOCUSED:
        top, left = rng.integers(low, high + 1)
        return int(top), int(left)
    present = np.unique(labels[labels != IGNORED])
    places = np.argwhere(labels == rng.choice(present))
    center = places[rng.integers(len(places))] + rng.integers(-size // 4, size // 4, 2)
    top, left = np.clip(center - size // 2, low, high)
    return int(top), int(left)
