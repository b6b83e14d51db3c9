"""Trees, lamp posts, signs and railings of a street; lengths are metres, feet on z = 0."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from meshes import Array, Material, Part, beam, box, normalized, turned
from street_houses import joined
from surroundings import fractal

BARK = Material((0.075, 0.060, 0.046), 0.02, 0.05)
IRON = Material((0.018, 0.019, 0.020), 0.04, 0.4)
GREY = Material((0.16, 0.165, 0.17), 0.06, 0.4)
LAMP = Material((0.60, 0.60, 0.58), 0.08, 0.7)
WHITE = Material((0.70, 0.70, 0.69), 0.04, 0.3)
RED = Material((0.50, 0.015, 0.018), 0.04, 0.3)
BLUE = Material((0.015, 0.07, 0.30), 0.04, 0.3)
BLACK = Material((0.015, 0.015, 0.016), 0.04, 0.3)

TREE_GREEN = (0.062, 0.078, 0.026)


def _leaf_paint(position: Array) -> Array:
    """Foliage, darker and browner in patches."""
    x, y, z = position.T
    tone = 0.45 + 1.1 * fractal(x * 1.7 + y, z * 1.7 - y, 4, 61)
    brown = fractal(x * 0.5 - y, z * 0.6 + y, 3, 62)[:, None]
    color = np.array(TREE_GREEN) * (1 - brown) + np.array((0.115, 0.092, 0.040)) * brown
    return (color * tone[:, None]).astype(np.float32)


LEAVES = Material(TREE_GREEN, 0.02, 0.05, paint=_leaf_paint)


Generator = np.random.Generator


def _leaves(centers: Array, radii: Array, count: int, size: float, random: Generator) -> Part:
    """Leaf triangles scattered in balls; each is shaded as part of its ball's surface."""
    ball = random.integers(len(centers), size=count)
    ways = normalized(random.normal(size=(count, 3)))
    middles = centers[ball] + ways * (radii[ball] * random.uniform(0.45, 1.05, count))[:, None]
    corners = middles[:, None] + random.normal(0, size / 2, (count, 3, 3))
    whole = normalized(middles - centers.mean(0))
    shading = normalized(ways * 0.7 + whole * 0.6 + random.normal(0, 0.25, (count, 3)))
    normals = np.repeat(shading[:, None], 3, axis=1)
    return Part(corners.astype(np.float32), normals.astype(np.float32), LEAVES)


def _limbs(
    start: Array, way: Array, length: float, radius: float, forks: int, random: Generator
) -> list[Part]:
    """A limb and, recursively, those that leave it."""
    parts = [beam(start, start + way * length, radius, BARK, taper=0.62)]
    if forks == 0:
        return parts
    for _ in range(3 if forks > 1 else 4):
        turn = normalized(way + random.normal(0, 0.48, 3) + np.array([0, 0, 0.12]))
        fork = start + way * length * random.uniform(0.6, 1.0)
        shorter = length * random.uniform(0.62, 0.85)
        parts += _limbs(fork, turn, shorter, radius * 0.6, forks - 1, random)
    return parts


def tree(height: float, seed: int, *, leaves: int = 15000) -> list[Part]:
    """A broad-leaved tree; few `leaves` show its branches."""
    random = np.random.default_rng(seed)
    root, up = np.array([0.0, 0.0, 0.0]), np.array([0.02, 0.01, 1.0])
    limbs = _limbs(root, up, height * 0.30, height * 0.022, 5, random)
    tips = np.stack([part.corners.reshape(-1, 3).mean(0) for part in limbs[1:]])
    tips = tips[tips[:, 2] > height * 0.34]
    centers = tips[random.integers(len(tips), size=46)] + random.normal(0, 0.2, (46, 3))
    radii = random.uniform(0.07, 0.13, 46) * height
    return [joined(limbs), _leaves(centers, radii, leaves, height * 0.0145, random)]


def hedge(start: Sequence[float], end: Sequence[float], seed: int) -> list[Part]:
    """Bushes that fill a box."""
    random = np.random.default_rng(seed)
    centers = random.uniform(start, end, (60, 3))
    return [_leaves(centers, random.uniform(0.3, 0.6, 60), 9000, 0.10, random)]


def lamp_post(height: float, reach: float) -> list[Part]:
    """A column with an arm of length `reach` across the road."""
    top = (0.0, 0.0, height)
    lantern = (0.0, reach, height + 0.30)
    return [
        beam((0, 0, 0), (0, 0, 1.3), 0.10, GREY),
        beam((0, 0, 1.2), top, 0.085, GREY, taper=0.7),
        beam(top, lantern, 0.045, GREY),
        box((-0.14, reach - 0.35, height + 0.24), (0.14, reach + 0.35, height + 0.40), GREY, 0.05),
        box((-0.11, reach - 0.30, height + 0.20), (0.11, reach + 0.30, height + 0.26), LAMP, 0.02),
    ]


def _disc(radius: float, x: float, z: float, material: Material) -> Part:
    profile = [(x - 0.01, 0), (x - 0.01, radius), (x, radius), (x, 0)]
    return turned(profile, material).moved((0, 0, z))


TWO = ((0.17, 0.09), (0.04, 0.09), (0.04, 0.0), (0.17, -0.11), (0.04, -0.11))
NOUGHT = ((-0.04, 0.09), (-0.16, 0.09), (-0.16, -0.11), (-0.04, -0.11), (-0.04, 0.09))
ARROW = ((0.13, 0.13), (-0.12, -0.12), (-0.12, 0.04), (-0.12, -0.12), (0.04, -0.12))
"""Lines on a sign as (y, z), seen from -x."""


def _drawn(line: Sequence[tuple[float, float]], x: float, z: float, ink: Material) -> list[Part]:
    points = [(x, across, z + up) for across, up in line]
    return [beam(start, end, 0.021, ink) for start, end in itertools.pairwise(points)]


def sign_post() -> list[Part]:
    """A post with a speed limit and, below it, a blue disc with a white arrow; they face -x."""
    high, low = 2.85, 2.12
    return [
        beam((0.05, 0, 0), (0.05, 0, 3.2), 0.042, GREY),
        _disc(0.36, 0.0, high, RED),
        _disc(0.27, -0.012, high, WHITE),
        *_drawn(TWO, -0.024, high, BLACK),
        *_drawn(NOUGHT, -0.024, high, BLACK),
        _disc(0.31, 0.0, low, WHITE),
        _disc(0.29, -0.012, low, BLUE),
        *_drawn(ARROW, -0.026, low, WHITE),
    ]


def bollard() -> list[Part]:
    """A short iron post with a white band."""
    return [
        beam((0, 0, 0), (0, 0, 0.95), 0.075, IRON, taper=0.85),
        turned([(0.72, 0.074), (0.72, 0.082), (0.82, 0.080), (0.82, 0.072)], WHITE, axis=2),
    ]


def railing(start: float, end: float, y: float) -> list[Part]:
    """Iron bars along x between two rails on a low wall."""
    bars = [beam((x, y, 0.3), (x, y, 1.55), 0.016, IRON) for x in np.arange(start, end, 0.16)]
    posts = [beam((x, y, 0.3), (x, y, 1.68), 0.04, IRON) for x in np.arange(start, end, 2.4)]
    rails = [beam((start, y, z), (end, y, z), 0.022, IRON) for z in (0.45, 1.42)]
    wall = box((start, y - 0.15, 0.0), (end, y + 0.15, 0.42), Material((0.22, 0.17, 0.12)), 0.02)
    return [joined([*bars, *posts, *rails]), wall]
