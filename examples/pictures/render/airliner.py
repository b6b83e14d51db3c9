"""A twin-engine airliner above the clouds."""

from __future__ import annotations

import numpy as np
from lighting import Sky, shade, sky_lights, sun_lights
from meshes import (
    Array,
    Material,
    Part,
    Solid,
    assemble,
    beam,
    capped,
    loft,
    normalized,
    turned,
    wing,
)
from numpy.typing import NDArray
from rasterizer import Camera, look
from surroundings import Clouds, smoothstep

WHITE = (0.68, 0.69, 0.70)
BLUE = (0.02, 0.09, 0.30)
RED = (0.62, 0.05, 0.04)
NOSE, TAIL, RADIUS = 18.0, -20.0, 2.05

UP = (0.08, -0.58, 0.811)

SKY = Sky(
    sun=(0.35, 0.28, 0.90),
    sunlight=(1.30, 1.22, 1.08),
    zenith=(0.03, 0.12, 0.42),
    horizon=(0.24, 0.45, 0.80),
    ground=(0.36, 0.42, 0.50),
    falloff=2.2,
)
CLOUDS = Clouds(
    scale=(5.2, 6.4), cover=0.42, lit=(1.25, 1.22, 1.18), dark=(0.42, 0.50, 0.64), seed=11
)


def _between(value: Array, low: Array | float, high: Array | float) -> NDArray[np.bool_]:
    return (value > low) & (value < high)


def _livery(position: Array) -> Array:
    """White top, blue belly line, cabin windows, doors and cockpit glass."""
    x, y, z = position.T
    color = np.tile(np.array(WHITE, np.float32), (len(x), 1))
    color[z < -0.95] = (0.50, 0.53, 0.57)
    sweep = z - 0.25 - 0.10 * np.maximum(-x - 9, 0) ** 1.5
    color[_between(z, -0.95, -0.62) & (x > -16)] = BLUE
    color[_between(z, -0.60, -0.48) & (x > -16)] = RED
    color[(x < -12.2) & (sweep < 1.2 - 0.9 * (x + 12.2))] = BLUE
    pane = np.abs((x / 0.62) % 1 - 0.5) < 0.24
    color[pane & _between(z, 0.30, 0.68) & _between(x, -12.5, 13.2)] = (0.03, 0.04, 0.06)
    for door in (14.0, -13.2):
        frame = (np.abs(np.abs(x - door) - 0.42) < 0.04) & _between(z, -0.55, 1.25)
        color[frame] *= 0.35
    glass = (x > 15.1 + 0.5 * (z - 0.4)) & _between(z, 0.44, 1.02)
    posts = np.abs((np.arctan2(y, x - 15.0) / 0.52) % 1 - 0.5) > 0.44
    color[glass & ~posts] = (0.015, 0.02, 0.03)
    return color


def _fin_paint(position: Array) -> Array:
    x, _, z = position.T
    stripe = z - 0.9 * (x + 17)
    color = np.tile(np.array(BLUE, np.float32), (len(x), 1))
    color[_between(stripe, 5.0, 5.8)] = WHITE
    color[_between(stripe, 5.8, 7.6)] = RED
    return color


def _wing_paint(position: Array) -> Array:
    x, y, _ = position.T
    color = np.tile(np.array((0.56, 0.58, 0.61), np.float32), (len(x), 1))
    behind = x + 0.52 * np.abs(y)
    color *= (1 - 0.10 * smoothstep(-1.25, -1.35, behind))[:, None]
    return color


SKIN = Material(WHITE, 0.05, 0.75, paint=_livery)
WING = Material(reflectance=0.06, gloss=0.55, paint=_wing_paint)
FIN = Material(BLUE, 0.05, 0.7, paint=_fin_paint)
COWL = Material(BLUE, 0.06, 0.8)
METAL = Material((0.62, 0.63, 0.65), 0.55, 0.6)
DARK = Material((0.02, 0.02, 0.025), 0.04, 0.2)


def _fuselage() -> Part:
    rings = []
    angles = np.arange(72) * 2 * np.pi / 72
    for share in np.concatenate([np.linspace(0, 0.16, 26), np.linspace(0.18, 1, 46)]):
        x = NOSE + (TAIL - NOSE) * (share if share > 0.16 else share**2 / 0.16)
        front = np.clip((NOSE - x) / 5.6, 0, 1)
        rear = np.clip((x - TAIL) / 13.5, 0, 1)
        size = RADIUS * (1 - (1 - front) ** 2.1) ** 0.62 * (0.10 + 0.90 * (1 - (1 - rear) ** 2.0))
        height = -0.62 * (1 - front) ** 2 + 1.25 * (1 - rear) ** 1.8
        ring = [np.full(72, x), np.cos(angles) * size, np.sin(angles) * size + height]
        rings.append(np.stack(ring, 1))
    return loft(capped(rings), SKIN)


def _engine() -> list[Part]:
    """The left engine with its pylon."""
    center = np.array([3.2, 5.6, -2.35])
    cowl = [(2.2, 1.06), (2.35, 1.14), (2.2, 1.24), (1.5, 1.38), (0.2, 1.40), (-1.4, 1.08)]
    parts = [
        turned([(0.9, 1.02), *cowl[:3]], METAL),
        turned(cowl[2:], COWL),
        turned([(1.2, 0.0), (1.2, 1.05)], DARK),
        turned([(1.9, 0.0), (1.7, 0.16), (1.2, 0.34)], METAL),
        turned([(-1.4, 1.08), (-1.3, 0.72), (-2.4, 0.45), (-3.1, 0.0)], METAL),
    ]
    pylon = [((1.6, 0, 1.2), 4.6, 0.10), ((0.2, 0, 2.1), 5.0, 0.10)]
    return [part.moved(center) for part in [*parts, wing(pylon, (0, 1, 0), COWL)]]


def _left_wing() -> list[Part]:
    sections = [
        ((5.6, 0.0, -1.15), 8.2, 1.05),
        ((4.6, 1.9, -1.05), 7.2, 0.92),
        ((1.9, 6.4, -0.55), 4.4, 0.52),
        ((-5.2, 17.6, 0.85), 1.6, 0.17),
    ]
    winglet = [
        ((-5.2, 17.6, 0.85), 1.6, 0.16),
        ((-5.7, 17.95, 1.25), 1.4, 0.14),
        ((-7.0, 18.45, 3.1), 0.6, 0.06),
    ]
    parts = [wing(sections, (0, 0, 1), WING), wing(winglet, (0, 0.9, -0.25), FIN)]
    for along, (x, z) in {4.0: (-2.3, -1.0), 8.6: (-3.0, -0.55), 12.4: (-4.6, -0.1)}.items():
        pod = [(1.5, 0.0), (1.0, 0.16), (0, 0.24), (-1.4, 0.14), (-2.0, 0.0)]
        parts.append(turned(pod, WING, count=12).moved((x, along, z)))
    return parts


def _tail() -> list[Part]:
    fin = [
        ((-12.0, 0, 2.2), 7.2, 0.30),
        ((-13.6, 0, 3.0), 5.6, 0.55),
        ((-18.3, 0, 9.0), 2.4, 0.24),
    ]
    plane = [((-14.6, 0.3, 1.6), 4.4, 0.42), ((-18.6, 6.6, 2.2), 1.5, 0.14)]
    left = wing(plane, (0, 0, 1), WING)
    return [wing(fin, (0, 1, 0), FIN), left, left.mirrored()]


def airliner() -> Solid:
    """The whole aircraft, nose towards +x."""
    half = [*_left_wing(), *_engine()]
    bulge = [(6.5, 0), (5, 0.9), (2, 1.5), (-3, 1.5), (-6, 0.8), (-7.5, 0)]
    belly = turned(bulge, WING, squash=0.7)
    antenna = beam((6, 0, 2.0), (5.7, 0, 2.6), 0.06, DARK)
    mirrored = [part.mirrored() for part in half]
    return assemble([_fuselage(), belly.moved((0, 0, -1.2)), antenna, *half, *mirrored, *_tail()])


def _upright(rays: Array) -> Array:
    """Rays (H, W, 3) in axes whose z points up for the pilot's horizon, not for the wings."""
    forward = normalized(np.array([1, 0, 0]) - np.dot(UP, [1, 0, 0]) * np.asarray(UP))
    return rays @ np.stack([forward, np.cross(UP, forward), UP]).astype(np.float32).T


def render(size: tuple[int, int]) -> Array:
    """Linear RGB (H, W, 3) of the scene at `size` (height, width)."""
    camera = Camera((78.0, 68.0, 24.0), (-1.2, 0.0, 0.9), 19.2, size, up=UP)
    solid = airliner()
    rays = _upright(camera.rays())
    light = CLOUDS.over(SKY.radiance(np.abs(rays)), rays)
    surface = look(solid, camera)
    lights = (sun_lights(solid, SKY), sky_lights(solid, SKY))
    light[surface.mask] = shade(surface, solid, SKY, lights)
    return light
