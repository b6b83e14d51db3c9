"""A town street on a dull day, as the windscreen of a car frames it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import street_cars as cars
import street_furniture as furniture
import street_people as people
from lighting import Lights, Sky, shade, sky_lights, sun_lights
from meshes import Array, Material, Part, Solid, assemble, box
from rasterizer import Camera, Surface, look
from street_houses import FRONT, House, build
from surroundings import Clouds, fractal, haze, noise, smoothstep

SKY = Sky(
    sun=(-0.45, -0.55, 0.70),
    sunlight=(0.52, 0.50, 0.46),
    zenith=(0.62, 0.78, 0.96),
    horizon=(1.05, 1.08, 1.08),
    ground=(0.13, 0.13, 0.13),
    falloff=3.2,
)
CLOUDS = Clouds(
    scale=(2.2, 6.0),
    cover=0.50,
    lit=(3.2, 3.2, 3.15),
    dark=(2.0, 2.15, 2.35),
    seed=21,
    band=(-0.1, 0.02),
)
MIRRORED = replace(SKY, zenith=(0.85, 0.92, 1.0), horizon=(0.05, 0.05, 0.048), falloff=3.0)
"""What glass and paint mirror: the sky over the opposite houses, which are dark."""
KERB = 4.6
PAVEMENT = 0.13
BLOCKS = (0.0, 26.0, 60.0, 110.0, 260.0)
"""Ends of the parts of the street along x, each with lights of its own."""


def _road_paint(position: Array) -> Array:
    """Worn asphalt with lane lines, an arrow, double yellow lines, repairs and drains."""
    x, y, _ = position.T
    patches = fractal(x * 0.22, y * 0.9, 5, 71) - 0.5
    grit = noise(x * 30, y * 30, 72) - 0.5
    tracks = np.exp(-(((np.abs(np.abs(y) - 2.1) - 0.75) / 0.28) ** 2))
    tone = 0.105 * (1 + 0.45 * patches + 0.20 * grit * np.exp(-x / 14) - 0.12 * tracks)
    repair = (np.abs(y - 3.2) < 0.55) & (np.abs(x - 9.5) < 3.4)
    repair |= (np.abs(y + 1.9) < 0.8) & (np.abs(x - 15) < 4)
    tone = np.where(repair, tone * 0.84, tone)
    tone *= 1 - 0.3 * smoothstep(KERB - 0.35, KERB, np.abs(y))
    tone = np.where(np.hypot(x - 7.4, y + 1.1) < 0.34, tone * 0.75, tone)
    seam = np.abs(y - 0.35 - 0.05 * noise(x * 0.6, 0, 74)) < 0.02
    seam |= np.abs((x - 3) % 17 - 8) < 0.02
    color = np.outer(np.where(seam, tone * 0.72, tone), (1.0, 1.0, 1.02))
    worn = (0.35 + 0.5 * smoothstep(0.30, 0.55, fractal(x * 2.5, y * 2.5, 4, 73)))[:, None]
    color = np.where(_white(x, y)[:, None], color * (1 - worn) + 0.55 * worn, color)
    double = (np.abs(np.abs(np.abs(y) - KERB + 0.42) - 0.09) < 0.04)[:, None]
    yellow = np.array((0.40, 0.30, 0.07))
    worn *= 0.8
    return np.where(double, color * (1 - worn) + yellow * worn, color).astype(np.float32)


def _white(x: Array, y: Array) -> Array:
    """Where the road has white paint."""
    dashes = (np.abs(y) < 0.06) & ((x + 1.2) % 6.0 < 3.6)
    stop = (np.abs(x - 52) < 0.15) & (y > 0.1) & (y < KERB - 0.6)
    shaft = (np.abs(y - 2.5) < 0.09) & (np.abs(x - 8.4) < 1.3)
    head = (np.abs(y - 2.5) < (11.0 - x) * 0.30) & (x > 9.6) & (x < 11.0)
    return np.asarray(dashes | stop | shaft | head)


def _pavement_paint(position: Array) -> Array:
    """Flagstones with joints and stains; the kerb's edge is lighter."""
    x, y, z = position.T
    across = np.abs(y) / 0.6
    row = np.floor(across)
    along = x / 0.9 + 0.5 * (row % 2)
    flag = noise(np.floor(along) * 1.7, row * 2.3, 75) - 0.5
    joint = np.abs(along - np.rint(along)) < 0.012
    joint |= np.abs(across - np.rint(across)) < 0.018
    stains = fractal(x * 0.8, y * 0.8, 5, 76) - 0.5
    tone = 0.165 * (1 + 0.22 * flag + 0.5 * stains) * np.where(joint, 0.72, 1.0)
    tone = np.where(np.abs(y) < KERB + 0.16, 0.20 * (1 + 0.4 * stains), tone)
    tone *= 0.72 + 0.28 * smoothstep(0.0, 0.1, z)
    return np.outer(tone, (1.0, 0.965, 0.92)).astype(np.float32)


def _grass_paint(position: Array) -> Array:
    x, y, _ = position.T
    tone = 0.5 + fractal(x * 1.3, y * 1.3, 5, 77)
    return np.outer(tone, (0.075, 0.105, 0.032)).astype(np.float32)


ROAD = Material(reflectance=0.0, gloss=0.1, paint=_road_paint)
PAVING = Material(reflectance=0.0, gloss=0.1, paint=_pavement_paint)
GRASS = Material(reflectance=0.02, gloss=0.05, paint=_grass_paint)

YELLOW_BRICK, RED_BRICK = (0.34, 0.265, 0.165), (0.215, 0.095, 0.062)
BROWN_BRICK, GREY_WALL = (0.17, 0.125, 0.09), (0.27, 0.265, 0.26)
WHITE_WALL, CREAM_WALL = (0.56, 0.555, 0.53), (0.50, 0.44, 0.32)
LEFT = (
    House(5.0, 12.0, 3, BROWN_BRICK, 3, (0.03, 0.12, 0.08), 1),
    House(12.0, 18.0, 3, WHITE_WALL, 3, None, 2),
    House(18.0, 26.0, 3, YELLOW_BRICK, 4, (0.20, 0.02, 0.025), 3),
    House(26.0, 33.0, 2, RED_BRICK, 3, None, 4),
    House(33.0, 42.0, 3, CREAM_WALL, 4, (0.02, 0.04, 0.12), 5),
    House(42.0, 51.0, 3, BROWN_BRICK, 4, (0.5, 0.48, 0.42), 6),
    House(51.0, 60.0, 2, WHITE_WALL, 3, None, 7),
    House(60.0, 72.0, 3, RED_BRICK, 5, (0.03, 0.03, 0.03), 8),
    House(72.0, 85.0, 3, YELLOW_BRICK, 5, None, 9),
    House(85.0, 110.0, 3, GREY_WALL, 9, None, 10),
    House(110.0, 140.0, 3, RED_BRICK, 10, None, 11),
)
RIGHT = (
    House(33.0, 41.0, 3, CREAM_WALL, 4, (0.02, 0.05, 0.16), 12),
    House(41.0, 49.0, 3, RED_BRICK, 3, None, 13),
    House(49.0, 60.0, 2, WHITE_WALL, 4, (0.06, 0.10, 0.05), 14),
    House(60.0, 72.0, 3, YELLOW_BRICK, 5, None, 15),
    House(72.0, 90.0, 3, BROWN_BRICK, 7, (0.16, 0.03, 0.02), 16),
    House(90.0, 110.0, 3, YELLOW_BRICK, 8, None, 17),
    House(110.0, 140.0, 3, GREY_WALL, 10, None, 18),
)
BEHIND_THE_PARK = (
    House(28.0, 44.0, 3, WHITE_WALL, 6, None, 20),
    House(44.0, 60.0, 3, RED_BRICK, 6, None, 21),
)
ACROSS_THE_END = House(-14.0, 14.0, 3, BROWN_BRICK, 8, None, 19)


PARK_TREES = ((16.0, -11.0, 9.0, 3), (22.5, -10.0, 8.0, 4), (28.5, -11.5, 10.0, 5))
"""Place, height and seed."""


def _placed(parts: Sequence[Part], x: float, y: float, z: float = 0.0) -> list[Part]:
    return [part.moved((x, y, z)) for part in parts]


def _ground() -> list[Part]:
    parts = []
    for start, end in itertools.pairwise((1.0, *BLOCKS[1:])):
        parts.append(box((start, -KERB, -0.2), (end, KERB, 0.0), ROAD))
        for low, high in ((KERB, FRONT + 1), (-FRONT - 1, -KERB)):
            parts.append(box((start, low, -0.2), (end, high, PAVEMENT), PAVING))
    return [*parts, box((1.0, -26.0, -0.1), (33.0, -FRONT - 1, PAVEMENT), GRASS)]


def _houses() -> list[Part]:
    left = [part for house in LEFT for part in build(house)]
    right = [part.mirrored() for house in RIGHT for part in build(house)]
    for house in BEHIND_THE_PARK:
        right += _placed([part.mirrored() for part in build(house)], 0.0, -15.0)
    swapped = [1, 0, 2]
    across = [
        Part(part.corners[..., swapped], part.normals[..., swapped], part.material)
        for part in build(ACROSS_THE_END)
    ]
    return [*left, *right, *_placed(across, 150.0, 0.0)]


def _traffic() -> list[Part]:
    silver, blue, black = (0.36, 0.37, 0.38), (0.02, 0.035, 0.11), (0.014, 0.014, 0.016)
    red, gray, white = (0.26, 0.018, 0.018), (0.10, 0.105, 0.11), (0.60, 0.60, 0.59)
    green = (0.012, 0.06, 0.045)
    parts = _placed(cars.car(blue, braking=True), 23.0, 1.35)
    for color, x in ((silver, 26.5), (black, 32.0), (red, 37.4), (gray, 43.0)):
        parts += _placed(cars.car(color), x, 3.62)
    parts += _placed(cars.van(white), 48.5, 3.5)
    oncoming = [cars.turned_round(part) for part in cars.car(silver)]
    parts += _placed(oncoming, 33.0, -1.6)
    for color, x in ((green, 16.5), (red, 38.0), (blue, 44.0), (silver, 50.0)):
        parts += _placed([cars.turned_round(part) for part in cars.car(color)], x, -3.68)
    return parts


def _people() -> list[Part]:
    dark, denim, wool = (0.016, 0.017, 0.022), (0.03, 0.045, 0.08), (0.12, 0.03, 0.03)
    parts = _placed(people.pedestrian(dark, denim), 12.0, 6.3, PAVEMENT)
    parts += _placed(people.pedestrian(wool, denim, 0.18), 29.0, -5.7, PAVEMENT)
    parts += _placed(people.pedestrian((0.03, 0.034, 0.05), denim, 0.26), 17.0, 6.5, PAVEMENT)
    for x, y in ((21.5, 6.1), (35.0, 6.2), (41.0, -6.0)):
        parts += _placed(people.pedestrian(dark, (0.05, 0.05, 0.05), 0.15), x, y, PAVEMENT)
    return [*parts, *_placed(people.cyclist((0.30, 0.34, 0.025), dark), 11.3, 2.75)]


def _furniture() -> list[Part]:
    parts = furniture.railing(3.0, 33.0, -FRONT - 0.2)
    for x, y, height, seed in PARK_TREES:
        parts += _placed(furniture.tree(height, seed), x, y)
    for x, y, seed in ((62.0, -5.6, 8), (75.0, 5.6, 9), (96.0, -5.6, 10)):
        parts += _placed(furniture.tree(7.5, seed, leaves=6000), x, y)
    parts += furniture.hedge((6.0, -10.4, 0.3), (33.0, -9.0, 1.2), 11)
    for x in (24.0, 52.0, 80.0):
        parts += _placed(furniture.lamp_post(8.0, -1.5), x, KERB + 0.4, PAVEMENT)
        parts += _placed(furniture.lamp_post(8.0, 1.5), x + 12, -KERB - 0.4, PAVEMENT)
    parts += _placed(furniture.sign_post(), 14.5, 5.0, PAVEMENT)
    for x in (13.6, 15.1):
        parts += _placed(furniture.bollard(), x, -KERB - 0.45, PAVEMENT)
    return parts


def _lights(solid: Solid, low: float, high: float) -> Lights:
    """Lights of the triangles between `low` and `high` along the street."""
    middle = solid.corners[..., 0].mean(1)
    chosen = (middle > low) & (middle <= high)
    part = replace(
        solid,
        corners=solid.corners[chosen],
        normals=solid.normals[chosen],
        material=solid.material[chosen],
    )
    return sun_lights(part, SKY, spread=0.22), sky_lights(part, SKY, 64 if low < 60 else 24)


def _shaded(surface: Surface, solid: Solid, blocks: Sequence[float]) -> Array:
    """Light (P, 3) of the visible points, block by block."""
    light = np.zeros_like(surface.position)
    along = surface.position[:, 0]
    for low, high in itertools.pairwise(blocks):
        chosen = np.flatnonzero((along > low) & (along <= high))
        part = replace(
            surface,
            position=surface.position[chosen],
            normal=surface.normal[chosen],
            view=surface.view[chosen],
            material=surface.material[chosen],
        )
        light[chosen] = shade(part, solid, MIRRORED, _lights(solid, low, high))
    return light


def render(size: tuple[int, int]) -> Array:
    """Linear RGB (H, W, 3) of the scene at `size` (height, width)."""
    camera = Camera((0.0, 1.35, 1.42), (30.0, 0.25, 1.30), 40.0, size)
    solid = assemble([*_ground(), *_houses(), *_traffic(), *_people(), *_furniture()])
    rays = camera.rays()
    light = CLOUDS.over(SKY.radiance(np.abs(rays)) * 1.7, rays).astype(np.float32)
    surface = look(solid, camera)
    distance = np.linalg.norm(surface.position - np.asarray(camera.eye, np.float32), axis=1)
    light[surface.mask] = haze(_shaded(surface, solid, BLOCKS), distance, SKY, 2500.0)
    return cv2.GaussianBlur(light, (0, 0), size[0] / 1440)
