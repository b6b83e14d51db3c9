"""Faces of playing cards, drawn as polygons: nine, ten and ace of the four suits.

Lengths are centimetres on a card of `WIDTH` by `HEIGHT`; x points right and y down from its middle.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from meshes import Array
from numpy.typing import ArrayLike, NDArray

WIDTH, HEIGHT, CORNER = 6.35, 8.9, 0.34
PIXELS_PER_CM = 160
RED = (0.58, 0.012, 0.022)
BLACK = (0.012, 0.012, 0.013)
PAPER = (0.86, 0.855, 0.84)

Polygons = list[Array]
"""Outlines (N, 2) that are filled one by one."""

PIP_SIZE, INDEX_PIP_SIZE = 1.26, 0.49
PIP_COLUMN = 1.47
CORNERS = [(x, y) for y in (-2.72, -0.92) for x in (-PIP_COLUMN, PIP_COLUMN)]
PIPS = {"ace": [], "nine": CORNERS, "ten": [*CORNERS, (0.0, -1.82)]}
"""Pips of the upper half; the lower half is the same turned around."""
MIDDLE_PIP = ("ace", "nine")


def _curve(*controls: ArrayLike) -> Array:
    """Chain of cubic Bezier curves through every third of the control points (3 K + 1, 2)."""
    points = np.asarray(controls, np.float32)
    share = np.linspace(0, 1, 24, endpoint=False, dtype=np.float32)[:, None]
    pieces = []
    for a, b, c, d in zip(points[:-1:3], points[1::3], points[2::3], points[3::3], strict=True):
        rest = 1 - share
        bends = 3 * rest * share * (rest * b + share * c)
        pieces.append(rest**3 * a + bends + share**3 * d)
    return np.concatenate([*pieces, points[-1:]])


def _with_mirror(half: Array) -> Array:
    """Closed outline from its right half, which starts and ends on the axis x = 0."""
    return np.concatenate([half, half[::-1] * [-1, 1]]).astype(np.float32)


def _disc(x: float, y: float, radius: float) -> Array:
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1) * radius + [x, y]
    return circle.astype(np.float32)


def _heart() -> Polygons:
    right = _curve(
        (0, -0.36), (0.06, -0.52), (0.18, -0.60), (0.29, -0.60), (0.44, -0.60), (0.52, -0.48),
        (0.52, -0.33), (0.52, -0.04), (0.14, 0.22), (0, 0.60),
    )  # fmt: skip
    return [_with_mirror(right)]


def _diamond() -> Polygons:
    right = _curve(
        (0, -0.62), (0.12, -0.40), (0.28, -0.18), (0.46, 0),
        (0.28, 0.18), (0.12, 0.40), (0, 0.62),
    )  # fmt: skip
    return [_with_mirror(right)]


def _stem(top: float) -> Array:
    flank = _curve((0, top), (0.05, 0.28), (0.08, 0.45), (0.15, 0.62))
    return _with_mirror(np.concatenate([flank, [[0, 0.62]]]))


def _spade() -> Polygons:
    right = _curve(
        (0, -0.62), (0.10, -0.30), (0.53, -0.08), (0.53, 0.18), (0.53, 0.34), (0.42, 0.42),
        (0.30, 0.42), (0.17, 0.42), (0.06, 0.34), (0, 0.16),
    )  # fmt: skip
    return [_with_mirror(right), _stem(-0.1)]


def _club() -> Polygons:
    leaves = [_disc(0, -0.33, 0.275), _disc(-0.31, 0.13, 0.275), _disc(0.31, 0.13, 0.275)]
    return [*leaves, _disc(0, 0.0, 0.14), _stem(-0.1)]


SUITS = {"hearts": _heart, "diamonds": _diamond, "spades": _spade, "clubs": _club}


def _stroke(line: Array, thickness: ArrayLike) -> Array:
    """Outline of a line (N, 2) drawn with a pen of `thickness`, one number or N."""
    along = np.gradient(line, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
    half = across * np.broadcast_to(thickness, len(line))[:, None] / 2
    return np.concatenate([line + half, (line - half)[::-1]]).astype(np.float32)


def _bar(start: tuple[float, float], end: tuple[float, float], thickness: float) -> Array:
    return _stroke(np.array([start, end], np.float32), thickness)


def _ring(x: float, y: float, width: float, height: float, thickness: float) -> Polygons:
    """An upright oval line with straight flanks, in two halves."""
    right, low = width / 2, height / 2
    arch = _curve((-right, 0), (-right, -low * 1.33), (right, -low * 1.33), (right, 0))
    return [_stroke(arch * [1, sign] + [x, y], thickness) for sign in (1, -1)]


def _nine() -> Polygons:
    tail = _curve((0.215, -0.2), (0.225, 0.18), (0.13, 0.44), (-0.14, 0.48))
    return [*_ring(0, -0.2, 0.42, 0.53, 0.075), _stroke(tail, 0.08)]


def _ten() -> Polygons:
    return [_bar((-0.22, -0.47), (-0.22, 0.47), 0.085), *_ring(0.11, 0, 0.33, 0.9, 0.075)]


def _letter_a() -> Polygons:
    legs = [_bar((-0.01, -0.47), (-0.20, 0.45), 0.055), _bar((0, -0.47), (0.21, 0.45), 0.10)]
    feet = [_bar((-0.31, 0.45), (-0.09, 0.45), 0.05), _bar((0.09, 0.45), (0.32, 0.45), 0.05)]
    return [*legs, *feet, _bar((-0.13, 0.14), (0.12, 0.14), 0.05)]


RANKS = {"nine": _nine, "ten": _ten, "ace": _letter_a}


def _placed(shape: Polygons, x: float, y: float, size: ArrayLike) -> Polygons:
    scale, offset = np.asarray(size, np.float32), np.array([x, y], np.float32)
    return [outline * scale + offset for outline in shape]


def _upper_half(rank: str, suit: str) -> Polygons:
    """Index and pips that are read upright."""
    pip = SUITS[suit]()
    index = (-WIDTH / 2 + 0.50, -HEIGHT / 2 + 0.85)
    shapes = _placed(RANKS[rank](), *index, (0.98, 1.02))
    shapes += _placed(pip, index[0], index[1] + 0.92, INDEX_PIP_SIZE)
    for x, y in PIPS[rank]:
        shapes += _placed(pip, x, y, PIP_SIZE)
    return shapes


def _fill(canvas: NDArray[np.float32], shapes: Sequence[Array], color: ArrayLike) -> None:
    """Blend `color` into the canvas (H, W, 3) where any of the shapes covers it."""
    height, width = canvas.shape[:2]
    cover = np.zeros((height, width), np.uint8)
    for outline in shapes:
        pixels = outline * PIXELS_PER_CM + np.array([width / 2, height / 2], np.float32)
        cv2.fillPoly(cover, [np.rint(pixels * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    share = (cover / np.float32(255))[..., None]
    canvas += (np.asarray(color, np.float32) - canvas) * share


def draw_face(rank: str, suit: str) -> NDArray[np.float32]:
    """Linear RGB albedo (H, W, 3) of a card.

    Args:
        rank: one of `RANKS`.
        suit: one of `SUITS`.
    """
    size = (round(HEIGHT * PIXELS_PER_CM), round(WIDTH * PIXELS_PER_CM), 3)
    canvas = np.full(size, PAPER, np.float32)
    upright = _upper_half(rank, suit)
    middle = _placed(SUITS[suit](), 0, 0, PIP_SIZE) if rank in MIDDLE_PIP else []
    shapes = [*upright, *middle, *(-outline for outline in upright)]
    _fill(canvas, shapes, RED if suit in ("hearts", "diamonds") else BLACK)
    return canvas
