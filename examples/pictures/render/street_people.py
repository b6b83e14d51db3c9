"""Pedestrians and a cyclist, facing +x; lengths are metres, feet on z = 0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from meshes import Array, Material, Part, beam, box, capped, loft, turned

SKIN = Material((0.36, 0.20, 0.13), 0.04, 0.2)
HAIR = Material((0.022, 0.014, 0.010), 0.04, 0.3)
SHOE = Material((0.020, 0.018, 0.017), 0.04, 0.4)
STEEL = Material((0.10, 0.10, 0.11), 0.15, 0.6)
RUBBER = Material((0.015, 0.015, 0.015), 0.03, 0.1)
HELMET = Material((0.05, 0.05, 0.055), 0.05, 0.6)
REFLECTOR = Material((0.5, 0.02, 0.02), emission=(0.25, 0.0, 0.0))

Point = tuple[float, float, float]
Color = tuple[float, float, float]


def _cloth(color: Color) -> Material:
    return Material(color, 0.02, 0.05)


def _limb(points: Sequence[Point], radii: Sequence[float], material: Material) -> Part:
    """A bent, tapering tube with round ends."""
    path = np.asarray(points, np.float32)
    first, last = path[0] - (path[1] - path[0]) * 0.04, path[-1] + (path[-1] - path[-2]) * 0.04
    path = np.stack([first, *path, last])
    thick = [radii[0] * 0.6, *radii, radii[-1] * 0.6]
    along = np.gradient(path, axis=0)
    rings = []
    for center, way, radius in zip(path, along, thick, strict=True):
        rings.append(center + radius * _circle(way))
    return loft(capped(rings), material)


def _circle(way: Array) -> Array:
    """Unit circle (12, 3) across a direction (3,)."""
    way = way / np.linalg.norm(way)
    side = np.cross(way, [0, 0, 1] if abs(way[2]) < 0.9 else [1, 0, 0])
    side /= np.linalg.norm(side)
    angles = np.arange(12)[:, None] * np.pi / 6
    circle = np.cos(angles) * side + np.sin(angles) * np.cross(way, side)
    return np.asarray(circle, np.float32)


def _torso(levels: Sequence[tuple[float, float, float, float]], material: Material) -> Part:
    """Elliptic sections: x of the middle, height, half depth and half width."""
    angles = np.arange(20) * np.pi / 10
    rings = []
    for x, z, depth, width in levels:
        bulge = np.sign(np.sin(angles)) * np.abs(np.sin(angles)) ** 0.8
        rings.append(np.column_stack([x + depth * np.cos(angles), width * bulge, np.full(20, z)]))
    return loft(capped(rings), material)


def _head(x: float, z: float) -> list[Part]:
    face = [(-0.14, 0), (-0.12, 0.055), (-0.05, 0.078), (0.03, 0.080), (0.09, 0.065), (0.125, 0)]
    skull = turned(face, SKIN, axis=2, count=16).moved((x + 0.01, 0, z))
    hair = [(-0.07, 0.0), (-0.06, 0.07), (0.0, 0.090), (0.05, 0.086), (0.10, 0.065), (0.135, 0.0)]
    neck = beam((x - 0.03, 0, z - 0.24), (x, 0, z - 0.05), 0.052, SKIN)
    return [skull, turned(hair, HAIR, axis=2, count=16).moved((x - 0.022, 0, z + 0.012)), neck]


COAT = (
    (0.0, 0.72, 0.13, 0.20), (0.0, 0.95, 0.13, 0.185), (0.0, 1.15, 0.12, 0.175),
    (0.01, 1.32, 0.125, 0.20), (0.0, 1.42, 0.10, 0.185), (0.0, 1.47, 0.07, 0.09),
    (0.0, 1.50, 0.06, 0.065),
)  # fmt: skip
JACKET = (
    (-0.27, 0.90, 0.13, 0.17), (-0.24, 1.02, 0.14, 0.175), (-0.15, 1.20, 0.13, 0.18),
    (-0.04, 1.36, 0.13, 0.205), (0.03, 1.45, 0.10, 0.18), (0.07, 1.50, 0.06, 0.08),
)  # fmt: skip
"""Sections of a coat upright and of a jacket leaning forward, see `_torso`."""


def pedestrian(coat: Color, trousers: Color, stride: float = 0.22) -> list[Part]:
    """A person in a coat, walking with feet `stride` metres before and behind."""
    top, cloth = _cloth(coat), _cloth(trousers)
    parts = [*_head(0.02, 1.60), _torso(COAT, top)]
    for side, forward in ((1, stride), (-1, -stride)):
        y = 0.095 * side
        knee = (forward * 0.55 + 0.04, y, 0.46)
        foot = (forward - 0.02, y, 0.09)
        parts.append(_limb([(0, y, 0.85), knee, foot], [0.095, 0.068, 0.055], cloth))
        parts.append(_shoe(forward, y, 0.0))
        swing = -forward * 0.7
        elbow, cuff = (swing * 0.4 - 0.03, 0.25 * side, 1.14), (swing + 0.05, 0.24 * side, 0.90)
        parts.append(_limb([(0, 0.21 * side, 1.40), elbow, cuff], [0.066, 0.055, 0.045], top))
        parts.append(_limb([cuff, (swing + 0.08, 0.235 * side, 0.80)], [0.035, 0.03], SKIN))
    return parts


def _shoe(x: float, y: float, z: float) -> Part:
    """A shoe with its ankle over (x, y) and its sole at `z`."""
    return box((x - 0.10, y - 0.045, z), (x + 0.17, y + 0.045, z + 0.10), SHOE, 0.03)


def _wheel(x: float) -> list[Part]:
    outer = [(-0.02, 0.345), (0.0, 0.355), (0.02, 0.345)]
    tyre = [(-0.02, 0.315), *outer, (0.02, 0.315), (-0.02, 0.315)]
    parts = [turned(tyre, RUBBER, axis=1, count=36).moved((x, 0, 0.355))]
    hub = np.array([x, 0, 0.355])
    for angle in np.arange(9) * np.pi / 9:
        spoke = np.array([0.32 * np.cos(angle), 0, 0.32 * np.sin(angle)])
        parts.append(beam(hub - spoke, hub + spoke, 0.004, STEEL))
    return parts


def _bicycle() -> list[Part]:
    frame = Material((0.16, 0.17, 0.18), 0.08, 0.7)
    crank, seat, head = (-0.05, 0, 0.30), (-0.22, 0, 0.86), (0.36, 0, 0.88)
    rear, front, top = (-0.52, 0, 0.355), (0.52, 0, 0.355), (-0.19, 0, 0.78)
    tubes = [(crank, seat), (crank, head), (top, head), (rear, crank), (rear, seat), (front, head)]
    tubes.append((head, (0.33, 0, 1.02)))
    parts = [beam(start, end, 0.02, frame) for start, end in tubes]
    parts.append(beam((0.33, -0.28, 1.02), (0.33, 0.28, 1.02), 0.016, STEEL))
    parts.append(box((-0.38, -0.08, 0.90), (-0.12, 0.08, 0.96), RUBBER, 0.03))
    parts.append(box((-0.60, -0.04, 0.66), (-0.56, 0.04, 0.74), REFLECTOR, 0.01))
    return [*parts, *_wheel(-0.52), *_wheel(0.52)]


def cyclist(jacket: Color, trousers: Color) -> list[Part]:
    """A rider on a bicycle, leaning forward a little."""
    top, cloth = _cloth(jacket), _cloth(trousers)
    parts = [*_bicycle(), *_head(0.14, 1.63), _torso(JACKET, top)]
    helmet = [(-0.01, 0.0), (0.0, 0.10), (0.05, 0.108), (0.11, 0.075), (0.14, 0.0)]
    parts.append(turned(helmet, HELMET, axis=2, count=16).moved((0.13, 0, 1.66)))
    for side, knee, pedal in ((1, (0.12, 0.56), (-0.02, 0.15)), (-1, (0.18, 0.78), (-0.08, 0.46))):
        y = 0.10 * side
        leg = [(-0.24, y, 0.93), (knee[0], 1.2 * y, knee[1]), (pedal[0] - 0.06, y, pedal[1] + 0.06)]
        parts.append(_limb(leg, [0.095, 0.07, 0.05], cloth))
        parts.append(_shoe(pedal[0], y, pedal[1] - 0.02))
        arm = [(0.01, 0.20 * side, 1.41), (0.16, 0.27 * side, 1.20), (0.31, 0.24 * side, 1.05)]
        parts.append(_limb(arm, [0.062, 0.05, 0.04], top))
    return parts
