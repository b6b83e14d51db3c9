"""Cars, seen mostly from behind; lengths are metres, the front towards +x, wheels on z = 0."""

from __future__ import annotations

import itertools

import numpy as np
from meshes import Array, Material, Part, beam, box, capped, loft, rounded_rectangle, turned

GLASS = Material((0.010, 0.012, 0.013), 0.07, 0.95)
RUBBER = Material((0.016, 0.016, 0.016), 0.03, 0.1)
ALLOY = Material((0.34, 0.34, 0.35), 0.25, 0.5)
PLASTIC = Material((0.020, 0.020, 0.022), 0.04, 0.3)
TAIL_LAMP = Material((0.42, 0.012, 0.010), 0.08, 0.8, emission=(0.06, 0.0, 0.0))
BRAKE_LAMP = Material((0.50, 0.02, 0.015), 0.08, 0.8, emission=(1.3, 0.05, 0.03))
HEADLAMP = Material((0.45, 0.46, 0.47), 0.15, 0.8)
REAR_PLATE = Material((0.62, 0.45, 0.05))
FRONT_PLATE = Material((0.66, 0.66, 0.63))

HALF = 0.86
WHEELS = (1.28, -1.30)


def turned_round(part: Part) -> Part:
    """The part reflected from front to back."""
    flip = np.array([-1, 1, 1], np.float32)
    return Part(part.corners * flip, part.normals * flip, part.material)


def _section(x: float, outline: Array, height: float) -> Array:
    """Ring (16, 3) of an outline (16, 2) across the car, its middle at `height`."""
    return np.column_stack([np.full(len(outline), x), outline[:, 0], outline[:, 1] + height])


def _hull(paint: Material) -> Part:
    """Lower body: sections along the car, lower and narrower towards its ends."""
    stations = [
        (-2.05, 0.42, 0.80, 0.72), (-2.00, 0.34, 0.92, 0.80), (-1.75, 0.26, 0.99, 0.85),
        (-1.0, 0.22, 1.00, HALF), (0.6, 0.22, 0.98, HALF), (1.1, 0.22, 0.94, HALF),
        (1.75, 0.24, 0.82, 0.83), (1.98, 0.30, 0.70, 0.76), (2.05, 0.38, 0.60, 0.66),
    ]  # fmt: skip
    rings = []
    for x, low, high, half in stations:
        outline = rounded_rectangle(high - low, 2 * half, 0.14)
        rings.append(_section(x, outline, (low + high) / 2))
    return loft(capped(rings), paint)


def _plan(rear: float, front: float, half: float, z: float) -> Array:
    """Rounded outline (16, 3) of the cabin at height `z`."""
    outline = rounded_rectangle(2 * half, front - rear, 0.12)
    return np.column_stack([outline[:, 0] + (front + rear) / 2, outline[:, 1], np.full(16, z)])


LEVELS = (
    (-1.86, 1.02, 0.80, 0.94),
    (-1.72, 0.62, 0.73, 1.18),
    (-1.56, 0.30, 0.66, 1.38),
    (-1.30, 0.10, 0.58, 1.46),
)
"""Rear, front, half width and height of the cabin's sections."""


def _cabin(paint: Material) -> list[Part]:
    """Windows all round under a painted roof on painted pillars."""
    rings = [_plan(*level) for level in LEVELS]
    roof = [
        _plan(rear - 0.03, front + 0.02, half + 0.012, height + 0.01)
        for rear, front, half, height in LEVELS[2:]
    ]
    rail = _plan(LEVELS[2][0] - 0.05, LEVELS[2][1] + 0.05, LEVELS[2][2] + 0.02, 1.335)
    left = _pillars(paint)
    parts = [loft(capped(rings), GLASS), loft(capped([rail, *roof]), paint), *left]
    return [*parts, *(part.mirrored() for part in left)]


def _pillars(paint: Material) -> list[Part]:
    """The left pillars: painted ones at the corners, a black one between the doors."""
    parts = [beam((-0.45, 0.79, 0.94), (-0.42, 0.655, 1.38), 0.045, PLASTIC)]
    for lower, upper in itertools.pairwise(LEVELS[:3]):
        for end, inset in ((0, 0.05), (1, -0.05)):
            low = (lower[end] + inset, lower[2] - 0.03, lower[3])
            high = (upper[end] + inset, upper[2] - 0.03, upper[3])
            parts.append(beam(low, high, 0.065, paint))
    return parts


def _wheel(x: float) -> list[Part]:
    """The left wheel at station `x`, in the dark of its arch."""
    tyre = [(-0.12, 0.0), (-0.12, 0.27), (-0.08, 0.305), (0.08, 0.305), (0.11, 0.27), (0.11, 0.2)]
    rim = [(0.10, 0.205), (0.06, 0.19), (0.04, 0.06), (0.08, 0.0)]
    arch = turned([(-0.2, 0), (-0.2, 0.36), (0.0, 0.36), (0.0, 0)], PLASTIC, axis=1)
    parts = [turned(tyre, RUBBER, axis=1), turned(rim, ALLOY, axis=1)]
    parts = [part.moved((x, HALF - 0.09, 0.305)) for part in parts]
    return [arch.moved((x, HALF + 0.004, 0.32)), *parts]


def _rear(lamp: Material) -> list[Part]:
    parts = [
        box((-2.11, -0.78, 0.36), (-1.9, 0.78, 0.56), PLASTIC, 0.06),
        box((-2.085, -0.26, 0.64), (-2.02, 0.26, 0.75), REAR_PLATE, 0.01),
        box((-2.06, -0.30, 0.76), (-2.0, 0.30, 0.79), PLASTIC, 0.01),
        beam((-2.10, 0.45, 0.28), (-1.9, 0.45, 0.28), 0.03, ALLOY),
    ]
    for side in (-0.68, 0.68):
        parts.append(box((-2.04, side - 0.13, 0.64), (-1.80, side + 0.13, 0.93), lamp, 0.06))
    return parts


def _front() -> list[Part]:
    parts = [
        box((1.9, -0.74, 0.30), (2.10, 0.74, 0.44), PLASTIC, 0.05),
        box((1.9, -0.36, 0.57), (2.06, 0.36, 0.66), PLASTIC, 0.03),
        box((1.9, -0.50, 0.34), (2.115, 0.50, 0.42), PLASTIC, 0.02),
        box((2.0, -0.26, 0.44), (2.115, 0.26, 0.55), FRONT_PLATE, 0.01),
    ]
    for side in (-0.60, 0.60):
        parts.append(box((1.78, side - 0.14, 0.56), (2.02, side + 0.14, 0.73), HEADLAMP, 0.06))
    return parts


def car(color: tuple[float, float, float], *, braking: bool = False) -> list[Part]:
    """A hatchback of linear RGB `color`."""
    paint = Material(color, 0.08, 0.85)
    left = [
        *_wheel(WHEELS[0]),
        *_wheel(WHEELS[1]),
        box((0.62, HALF - 0.02, 0.95), (0.80, HALF + 0.17, 1.08), paint, 0.05),
        box((-1.9, HALF - 0.02, 0.50), (1.8, HALF + 0.012, 0.54), PLASTIC, 0.01),
    ]
    parts = [_hull(paint), *_cabin(paint), *_rear(BRAKE_LAMP if braking else TAIL_LAMP), *_front()]
    return [*parts, *left, *(part.mirrored() for part in left)]


def van(color: tuple[float, float, float]) -> list[Part]:
    """A panel van of linear RGB `color`."""
    paint = Material(color, 0.05, 0.7)
    sections = [
        (-2.4, 0.93, 2.25), (-2.35, 0.96, 2.32), (1.1, 0.96, 2.32),
        (1.5, 0.94, 2.2), (2.2, 0.92, 1.35), (2.6, 0.88, 1.1),
    ]  # fmt: skip
    rings = []
    for x, half, high in sections:
        outline = rounded_rectangle(high - 0.35, 2 * half, 0.16)
        rings.append(_section(x, outline, (high + 0.35) / 2))
    left = [part.moved((0, 0.08, 0.02)) for x in (1.7, -1.5) for part in _wheel(x)]
    left += [
        box((-2.45, 0.14, 1.42), (-2.38, 0.80, 1.98), GLASS, 0.02),
        box((-2.45, 0.82, 0.75), (-2.36, 0.95, 1.25), TAIL_LAMP, 0.02),
        box((1.2, 0.90, 1.40), (1.75, 0.965, 1.95), GLASS, 0.02),
    ]
    parts = [
        loft(capped(rings), paint),
        box((-2.52, -0.9, 0.38), (-2.3, 0.9, 0.58), PLASTIC, 0.05),
        box((-2.43, -0.012, 0.6), (-2.40, 0.012, 2.2), PLASTIC, 0.005),
        box((-2.46, -0.26, 0.80), (-2.40, 0.26, 0.91), REAR_PLATE, 0.01),
        box((1.62, -0.8, 1.42), (2.2, 0.8, 2.0), GLASS, 0.2),
    ]
    return [*parts, *left, *(part.mirrored() for part in left)]
