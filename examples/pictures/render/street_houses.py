"""Terraced house fronts along the left side of a street that runs along x.

Lengths are metres; the right side is the mirror image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from meshes import Array, Material, Part, capped, loft
from surroundings import fractal, noise, smoothstep

FRONT = 7.6
"""Distance of the fronts from the middle of the road."""
DEPTH = 8.0
PANE = FRONT + 0.16
STOREY, SILL, HEAD = 3.0, 0.85, 2.45
"""Height of a storey and, above its floor, of the lower and upper edge of its windows."""

GLASS = Material((0.012, 0.014, 0.016), 0.10, 0.9)
FRAME = Material((0.62, 0.61, 0.58), 0.04, 0.3)
STONE = Material((0.42, 0.39, 0.33))
SLATE = Material((0.055, 0.057, 0.065), 0.04, 0.35)
DOORS = ((0.16, 0.02, 0.02), (0.02, 0.05, 0.10), (0.02, 0.07, 0.04))
PIPE = Material((0.03, 0.03, 0.032), 0.04, 0.4)


@dataclass(frozen=True)
class House:
    """A house of a terrace.

    Attributes:
        start, end: along the street.
        storeys: number of storeys.
        wall: linear RGB of its walls.
        columns: windows of a storey.
        shop: linear RGB of the shop front on the ground floor; None for a door and windows.
        seed: seed of its weathering.
    """

    start: float
    end: float
    storeys: int
    wall: tuple[float, float, float]
    columns: int
    shop: tuple[float, float, float] | None = None
    seed: int = 0

    @property
    def height(self) -> float:
        """Height of the eaves."""
        return self.storeys * STOREY + 0.5


def joined(parts: Sequence[Part]) -> Part:
    """Parts of the same material as one."""
    corners = np.concatenate([part.corners for part in parts])
    return Part(corners, np.concatenate([part.normals for part in parts]), parts[0].material)


def _wall(house: House) -> Material:
    """Masonry: courses, stains under the eaves and grime above the pavement."""

    def paint(position: Array) -> Array:
        x, z = position[:, 0] + np.abs(position[:, 1]), position[:, 2]
        stains = fractal(x * 0.7, z * 0.35, 5, house.seed) - 0.5
        course = np.floor(z / 0.075)
        bricks = noise(x / 0.22 + 0.5 * course, course, house.seed + 1) - 0.5
        tone = 1 + 0.55 * stains + 0.30 * bricks
        tone *= 0.72 + 0.28 * smoothstep(0.1, 1.6, z)
        tone *= 1 - 0.25 * smoothstep(house.height - 0.8, house.height, z)
        return (tone[:, None] * np.array(house.wall)).astype(np.float32)

    return Material(house.wall, paint=paint)


def _slab(
    x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], skin: Material
) -> Part:
    """Sharp-edged box between pairs of coordinates."""
    outline = [(y[0], z[0]), (y[1], z[0]), (y[1], z[1]), (y[0], z[1])]
    return loft(capped([[(station, *point) for point in outline] for station in x]), skin)


def _openings(house: House, width: float) -> list[tuple[float, float]]:
    """Left and right edge of the windows of a storey."""
    pitch = (house.end - house.start) / house.columns
    middles = house.start + pitch * (np.arange(house.columns) + 0.5)
    return [(float(x) - width / 2, float(x) + width / 2) for x in middles]


def _storey(house: House, floor: float) -> list[list[Part]]:
    """A storey from `floor` up: its walls, panes, frames and sills, each of one material."""
    low, high = floor + SILL, floor + HEAD
    openings = _openings(house, 1.15)
    panes, frames, stones = [], [], []
    for left, right in openings:
        panes.append(_slab((left, right), (PANE, PANE + 0.05), (low, high), GLASS))
        frames += _sash(left, right, low, high)
        sides = (left - 0.1, right + 0.1)
        stones.append(_slab(sides, (FRONT - 0.09, FRONT + 0.2), (low - 0.1, low), STONE))
        stones.append(_slab(sides, (FRONT - 0.02, FRONT + 0.2), (high, high + 0.18), STONE))
    return [_masonry(house, floor, openings), panes, frames, stones]


def _masonry(house: House, floor: float, openings: Sequence[tuple[float, float]]) -> list[Part]:
    """The wall of a storey around its openings."""
    wall, whole, thick = _wall(house), (house.start, house.end), (FRONT, FRONT + 0.3)
    edges = [house.start, *(edge for opening in openings for edge in opening), house.end]
    walls = [
        _slab(whole, thick, (floor, floor + SILL), wall),
        _slab(whole, thick, (floor + HEAD, floor + STOREY), wall),
    ]
    for piers in zip(edges[::2], edges[1::2], strict=True):
        walls.append(_slab(piers, thick, (floor + SILL, floor + HEAD), wall))
    return walls


def _sash(left: float, right: float, low: float, high: float) -> list[Part]:
    """White bars around and across a window."""
    y = (PANE - 0.05, PANE + 0.01)
    middle, cross = (left + right) / 2, (low + high) / 2
    uprights = ((left, left + 0.07), (right - 0.07, right), (middle - 0.025, middle + 0.025))
    rails = ((low, low + 0.08), (high - 0.07, high), (cross - 0.03, cross + 0.03))
    bars = [_slab(x, y, (low, high), FRAME) for x in uprights]
    return bars + [_slab((left, right), y, z, FRAME) for z in rails]


def _shop(house: House, color: tuple[float, float, float]) -> list[list[Part]]:
    """Shop front: fascia, posts, wide panes, stall riser and the goods behind them."""
    timber = Material(color, 0.04, 0.4)
    lettering = Material((0.62, 0.60, 0.52) if sum(color) < 0.9 else (0.05, 0.05, 0.07))
    x = (house.start + 0.12, house.end - 0.12)
    front = [
        _slab(x, (FRONT - 0.22, FRONT + 0.3), (2.55, 3.15), timber),
        _slab(x, (FRONT - 0.05, FRONT + 0.3), (0.13, 0.65), timber),
    ]
    for post in np.linspace(*x, 5):
        sides = (post - 0.09, post + 0.09)
        front.append(_slab(sides, (FRONT - 0.08, FRONT + 0.3), (0.13, 2.6), timber))
    above = _slab((house.start, house.end), (FRONT, FRONT + 0.3), (3.05, 3.5), _wall(house))
    pane = _slab(x, (FRONT + 0.1, FRONT + 0.15), (0.13, 2.6), GLASS)
    return [front, [above], [pane], _letters(house, lettering)]


def _letters(house: House, ink: Material) -> list[Part]:
    """Bars on the fascia that pass for a name."""
    parts = []
    for index in range(8):
        left = (house.start + house.end) / 2 - 1.6 + 0.4 * index
        top = 2.88 + 0.08 * ((index * 7 + house.seed) % 3)
        parts.append(_slab((left, left + 0.24), (FRONT - 0.24, FRONT), (2.72, top), ink))
    return parts


def _door(house: House) -> list[Part]:
    """Door with its step, at the first window's place on the ground floor."""
    left, right = _openings(house, 1.1)[0]
    panel = Material(DOORS[house.seed % len(DOORS)], 0.04, 0.5)
    return [
        _slab((left - 0.12, right + 0.12), (FRONT - 0.06, FRONT + 0.2), (0.13, 2.75), FRAME),
        _slab((left, right), (FRONT - 0.08, FRONT), (0.2, 2.25), panel),
        _slab((left, right), (FRONT - 0.08, FRONT), (2.32, 2.65), GLASS),
        _slab((left - 0.1, right + 0.1), (FRONT - 0.5, FRONT), (0.1, 0.24), STONE),
    ]


def _roof(house: House) -> list[Part]:
    low, high = house.height, house.height + 2.6
    outline = [(FRONT - 0.25, low), (FRONT + DEPTH / 2, high), (FRONT + DEPTH, low)]
    rings = [[(x, y, z) for y, z in outline] for x in (house.start, house.end)]
    back, whole = FRONT + DEPTH / 2 - 1.6, (house.start, house.end)
    flue = (house.start + 0.1, house.start + 1.0)
    return [
        loft(capped(rings), SLATE),
        _slab(flue, (back - 0.6, back), (low, high + 0.6), _wall(house)),
        _slab(whole, (FRONT - 0.28, FRONT), (low - 0.12, low + 0.02), PIPE),
        _slab(whole, (FRONT - 0.16, FRONT), (low - 0.36, low - 0.12), STONE),
    ]


def build(house: House) -> list[Part]:
    """Meshes of a house."""
    shop = house.shop is not None
    floors = np.arange(shop, house.storeys) * STOREY + (0.5 if shop else 0.3)
    groups = [group for floor in floors for group in _storey(house, float(floor))]
    if house.shop is not None:
        groups += _shop(house, house.shop)
    parts = [joined(group) for group in groups]
    if house.shop is None:
        parts += _door(house)
    return [*parts, *_body(house), *_roof(house)]


def _body(house: House) -> list[Part]:
    """What stands behind, above and below the storeys' fronts, and a rain pipe."""
    wall, whole, thick = _wall(house), (house.start, house.end), (FRONT, FRONT + 0.3)
    pipe = (house.end - 0.12, house.end - 0.02)
    return [
        _slab(whole, (FRONT + 0.25, FRONT + DEPTH), (0.0, house.height), wall),
        _slab(whole, thick, (house.height - 0.7, house.height), wall),
        _slab(whole, (FRONT + 0.01, FRONT + 0.3), (0.0, 0.4), wall),
        _slab(pipe, (FRONT - 0.1, FRONT), (0.13, house.height), PIPE),
    ]
