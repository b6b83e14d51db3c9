"""A small container ship on the open sea in the evening sun."""

from __future__ import annotations

import cv2
import numpy as np
from lighting import Light, Lights, Sky, shade, sky_lights, sun_lights
from meshes import Array, Material, Part, Solid, assemble, beam, box, capped, loft, turned
from rasterizer import Camera, Surface, look
from surroundings import Clouds, Sea, fractal, haze, mirrored_rays, noise, smoothstep

BOW, STERN, BEAM, DECK, DRAUGHT = 46.0, -44.0, 15.5, 7.2, 2.0

SKY = Sky(
    sun=(0.28, 0.92, 0.27),
    sunlight=(2.05, 1.38, 0.80),
    zenith=(0.13, 0.24, 0.46),
    horizon=(0.98, 0.58, 0.36),
    ground=(0.05, 0.09, 0.13),
    glow=(0.35, 0.16, 0.05),
    falloff=11.0,
)
CLOUDS = Clouds(
    scale=(5.0, 15.0),
    cover=0.36,
    lit=(1.25, 0.80, 0.55),
    dark=(0.30, 0.30, 0.42),
    seed=5,
    towards_sun=(0.6, -0.4),
    band=(0.015, 0.10),
)
SEA = Sea(wind=(-0.6, 0.8), length=22.0, steepness=0.12, color=(0.012, 0.045, 0.065), seed=3)

CONTAINER_SIZE = np.array([6.1, 2.44, 2.56])
CONTAINER_COLORS = (
    (0.45, 0.07, 0.04),
    (0.05, 0.16, 0.36),
    (0.52, 0.24, 0.05),
    (0.10, 0.28, 0.18),
    (0.55, 0.55, 0.53),
    (0.30, 0.05, 0.06),
    (0.03, 0.30, 0.38),
)


def _hull_paint(position: Array) -> Array:
    """Wet at the waterline, red below the boot line, blue above, with streaks of rust and salt."""
    x, _, z = position.T
    color = np.tile(np.array((0.018, 0.055, 0.15), np.float32), (len(x), 1))
    color[z < 1.1] = (0.36, 0.05, 0.035)
    color[z < 0.15] = (0.03, 0.03, 0.04)
    color[np.abs(z - 1.2) < 0.16] = (0.65, 0.64, 0.60)
    streak = fractal(x * 1.1, z * 0.09 + 9, 4, 21) * smoothstep(7.5, 0.5, z)
    rust = (smoothstep(0.40, 0.62, streak) * 0.55)[:, None]
    color = color * (1 - rust) + np.array((0.20, 0.09, 0.05), np.float32) * rust
    color[z > DECK + 1.0 + 3.1 * smoothstep(30, 37, x) - 0.35] = (0.62, 0.61, 0.57)
    seam = (np.abs((x / 5.2) % 1 - 0.5) > 0.488) | (np.abs((z / 2.1) % 1 - 0.5) > 0.48)
    return color * (0.92 + 0.16 * noise(x * 0.2, z * 0.5, 22) - 0.10 * seam)[:, None]


HULL = Material(reflectance=0.04, gloss=0.35, paint=_hull_paint)
WHITE = Material((0.76, 0.74, 0.70), 0.04, 0.3)
GLASS = Material((0.02, 0.025, 0.03), 0.10, 0.9)
LAMP = Material((0.5, 0.4, 0.2), emission=(1.5, 1.0, 0.45))
STEEL = Material((0.30, 0.30, 0.29))
BUFF = Material((0.55, 0.33, 0.10), 0.04, 0.3)
DECK_GREEN = Material((0.11, 0.19, 0.14))
FUNNEL = Material((0.45, 0.06, 0.04), 0.04, 0.4)
ORANGE = Material((0.75, 0.20, 0.03), 0.05, 0.5)
BLACK = Material((0.02, 0.02, 0.02))


def _hull_section(x: float) -> Array:
    """Closed outline (M, 3) of the hull at station `x`, from the left rail under the keel."""
    fore = np.clip((x - 14) / (BOW - 14), 0, 1)
    aft = np.clip((-26 - x) / (-26 - STERN), 0, 1)
    rail = DECK + 1.0 + 3.1 * float(smoothstep(30, 37, x))
    depth = np.concatenate([np.linspace(1, 0, 14), np.linspace(0, 1, 14)])
    low = -DRAUGHT + 1.8 * aft**2
    height = low + (rail - low) * depth
    flare = 1 - fore ** (1.7 + 1.5 * np.clip(height / rail, 0, 1))
    rounding = np.minimum(1, 0.75 + 2.0 * depth) * (1 - 0.35 * aft**2 * (1 - depth))
    half = BEAM / 2 * flare * rounding * np.concatenate([np.ones(14), -np.ones(14)])
    rake = fore**3 * 4.0 * (height / rail - 0.6)
    return np.stack([x + rake, half, height], 1)


def _hull() -> list[Part]:
    stations = np.concatenate([np.linspace(STERN, 14, 30), np.linspace(14.5, BOW, 40)])
    rings = np.stack([_hull_section(station) for station in stations])
    deck = rings[:, [1, 1, -2, -2]] * np.array([1, 0.97, 1], np.float32)
    deck[:, 1:3, 2] -= 0.05
    return [loft(capped(rings), HULL), loft(capped(deck), DECK_GREEN)]


def _containers() -> list[Part]:
    """Stacks in bays, five abreast and three at the bow; the corrugation is painted on."""
    random = np.random.default_rng(8)
    parts = []
    for bay, x in enumerate(np.arange(-20.5, 28, 6.5)):
        for row in range(5 if x < 20 else 3):
            middle = (row - (2 if x < 20 else 1)) * 2.62
            for tier in range(int(random.integers(2, 4)) + (bay in (1, 2, 4))):
                low = np.array([x, middle - 1.22, DECK + 1.0 + tier * 2.62])
                color = CONTAINER_COLORS[random.integers(len(CONTAINER_COLORS))]
                parts.append(box(low, low + CONTAINER_SIZE, _corrugated(color, low[2]), 0.06))
    return parts


def _corrugated(color: tuple[float, float, float], bottom: float) -> Material:
    def paint(position: Array) -> Array:
        x, y, z = position.T
        rib = np.maximum(np.sin(x * 2 * np.pi / 0.36), np.sin(y * 2 * np.pi / 0.36))
        frame = np.abs(z - bottom - 1.28) > 1.13
        grime = 0.45 + 0.8 * fractal(x * 0.6 + y, z * 0.8 + y, 3, 31)
        shading = np.where(frame, 0.8, 0.86 + 0.16 * rib) * grime
        return np.asarray(color, np.float32) * shading[:, None].astype(np.float32)

    return Material(color, 0.04, 0.25, paint=paint)


def _windows(front: float, y_range: tuple[float, float], z: float, every: float) -> list[Part]:
    """A row of windows in a wall that faces forward at x = `front`; some are lit."""
    parts = []
    for index, y in enumerate(np.arange(*y_range, every)):
        pane = LAMP if index % 3 == 1 else GLASS
        high = (front + 0.04, y + every * 0.55, z + 0.8)
        parts.append(box((front - 0.1, y, z), high, pane, 0.02))
    return parts


def _superstructure() -> list[Part]:
    base, parts = DECK + 0.2, []
    for level in range(4):
        low = base + level * 2.7
        half = 6.6 - 0.25 * level
        parts.append(box((-38.5 + level * 0.7, -half, low), (-27.5, half, low + 2.6), WHITE, 0.12))
        slab = low + 2.6
        parts.append(box((-39, -half - 0.5, slab), (-27.2, half + 0.5, slab + 0.14), WHITE, 0.05))
        parts += _windows(-27.5, (-half + 0.9, half - 0.9), low + 1.2, 1.5)
        for x in np.arange(-36, -28.5, 1.7):
            pane = LAMP if (level + int(x)) % 4 == 0 else GLASS
            high = (x + 0.8, half + 0.04, low + 2.0)
            port = box((x, half - 0.1, low + 1.2), high, pane, 0.02)
            parts += [port, port.mirrored()]
    return parts + _bridge(base + 10.8)


def _bridge(base: float) -> list[Part]:
    parts = [
        box((-35, -7.9, base), (-27.3, 7.9, base + 0.25), WHITE, 0.08),
        box((-34, -5.6, base), (-28.2, 5.6, base + 2.9), WHITE, 0.15),
        box((-33, -5.7, base + 1.25), (-28.05, 5.7, base + 2.25), GLASS, 0.08),
        box((-34.4, -6.0, base + 2.9), (-27.9, 6.0, base + 3.1), WHITE, 0.08),
        box((-29, -8.0, base), (-27.6, -5.6, base + 1.1), WHITE, 0.08),
        box((-29, 5.6, base), (-27.6, 8.0, base + 1.1), WHITE, 0.08),
        box((-42.0, -2.2, base - 5), (-37.6, 2.2, base + 2.6), FUNNEL, 0.5),
        box((-42.1, -2.25, base + 1.4), (-37.5, 2.25, base + 2.7), BLACK, 0.5),
        turned([(0, 0.5), (0.9, 0.6), (1.5, 0)], WHITE, axis=2).moved((-32, -3, base + 3.1)),
        beam((-31.5, 0, base + 3), (-31.5, 0, base + 9), 0.28, WHITE, taper=0.5),
        beam((-31.5, -2.4, base + 6), (-31.5, 2.4, base + 6), 0.12, WHITE),
        box((-31.6, -1.5, base + 7.0), (-31.3, 1.5, base + 7.35), WHITE, 0.05),
    ]
    boat = [(-2.7, 0.0), (-2.2, 0.7), (0, 1.0), (2.2, 0.7), (2.7, 0.0)]
    lifeboat = turned(boat, ORANGE, count=16, squash=0.9).moved((-33.5, 7.4, base - 5.2))
    return [*parts, lifeboat, lifeboat.mirrored()]


def _foredeck() -> list[Part]:
    top = DECK + 3.2
    parts = [
        box((31, -4.6, DECK), (32, 4.6, top + 1.2), WHITE, 0.1),
        beam((37, 0, top - 2), (37, 0, top + 9), 0.32, BUFF, taper=0.5),
        beam((37, -1.6, top + 6), (37, 1.6, top + 6), 0.12, BUFF),
        box((36.6, -0.8, top + 4), (37.4, 0.8, top + 4.5), BUFF, 0.05),
    ]
    for side in (-2.2, 2.2):
        winch = turned([(-0.8, 0), (-0.8, 0.7), (0.8, 0.7), (0.8, 0)], STEEL, count=14)
        parts.append(winch.moved((39, side, top)))
    return parts + _cranes()


def _cranes() -> list[Part]:
    """Two deck cranes on the right side with their jibs lowered aft."""
    parts = []
    for x in (-20.6, 12.6):
        foot, head = (x, -6.6, DECK), (x, -6.6, DECK + 14.5)
        parts.append(beam(foot, head, 0.95, BUFF, taper=0.85))
        parts.append(box((x - 1.3, -7.9, DECK + 12.5), (x + 1.5, -5.3, DECK + 15.6), BUFF, 0.2))
        tip = (x + 20.5, -4.2, DECK + 17.2)
        for shift in (-0.6, 0.6):
            parts.append(beam((x + 1, -6.6 + shift, DECK + 13.4), tip, 0.30, BUFF, taper=0.6))
        parts.append(beam((x, -6.6, DECK + 15.6), tip, 0.07, BLACK))
    return parts


def freighter() -> Solid:
    """The whole ship, bow towards +x, waterline at z = 0."""
    return assemble([*_hull(), *_containers(), *_superstructure(), *_foredeck()])


def _waterline_foam(points: Array) -> Array:
    """Foam cover (P,) of sea points (P, 3): bow wave, wash along the side, wake."""
    x, y = points[:, 0], points[:, 1]
    fore = np.clip((x - 14) / (BOW - 16), 0, 1)
    half = BEAM / 2 * (1 - fore**1.9)
    away = np.abs(y) - np.where((x < BOW - 2) & (x > STERN), half, 0)
    behind = BOW - x
    crest = np.abs(y) - 1.2 - 0.30 * behind
    bow_wave = np.exp(-((crest / (0.9 + 0.03 * behind)) ** 2) - behind / 34) * (behind > -3)
    wash = np.exp(-np.maximum(away, 0) / 1.3) * (behind > -2.5) * (x > STERN - 4)
    wake = smoothstep(8.5, 4, np.abs(y)) * (x < STERN) * np.exp((x - STERN) / 60)
    texture = fractal(x * 0.55, y * 0.9, 5, 61)
    cover = np.maximum(np.maximum(0.95 * bow_wave, wash), wake) * 0.62
    return smoothstep(0.50, 0.72, texture * 0.75 + cover)


def _reflection(solid: Solid, camera: Camera, lights: Lights) -> tuple[Array, Array]:
    """Picture (H, W, 3) of the ship upside down, and how much it covers (H, W)."""
    below = look(solid.reflected_in_water(), camera)
    flip = np.array([1, 1, -1], np.float32)
    above = Surface(
        below.mask, below.position * flip, below.normal * flip, below.view * flip, below.material
    )
    picture = np.zeros((*camera.size, 3), np.float32)
    picture[below.mask] = shade(above, solid, SKY, lights)
    across, down = camera.size[0] / 300, camera.size[0] / 70
    cover = cv2.GaussianBlur(below.mask.astype(np.float32), (0, 0), across, sigmaY=down)
    blurred = cv2.GaussianBlur(picture, (0, 0), across, sigmaY=down)
    return np.asarray(blurred, np.float32), np.asarray(cover, np.float32)


def _sea(camera: Camera, rays: Array, mirror: tuple[Array, Array], sun: list[Light]) -> Array:
    """Light (P, 3) from the sea along downward unit rays (P, 3)."""
    height = camera.eye[2]
    distance = height / np.maximum(-rays[:, 2], 1e-4)
    points = np.asarray(camera.eye, np.float32) + rays * distance[:, None]
    footprint = distance / camera.focal * (0.35 + 0.65 / np.sqrt(np.maximum(-rays[:, 2], 0.02)))
    slope, lost = SEA.slopes(points, footprint)
    grazing = np.maximum(-rays[:, 2], 0.03)
    slope += -rays[:, :2] * (lost * 0.9)[:, None] * np.minimum(1, 0.25 / grazing)[:, None]
    bounce, fresnel = mirrored_rays(rays, slope)
    light = SKY.radiance(bounce)
    run = np.clip((points[:, 1] - 5) / np.maximum(-bounce[:, 1], 0.05), 1, 150)
    flip = np.array([1, 1, -1], np.float32)
    pixels, _ = camera.project(points + bounce * flip * run[:, None])
    column = np.clip(pixels[:, 0], 0, camera.size[1] - 1).astype(np.int32)
    row = np.clip(pixels[:, 1], 0, camera.size[0] - 1).astype(np.int32)
    light = light * (1 - mirror[1][row, column][:, None]) + mirror[0][row, column]
    glint = np.maximum(bounce @ np.asarray(SKY.sun, np.float32), 0)[:, None] ** 180
    light += glint * np.asarray(SKY.sunlight, np.float32) * 3
    water = light * fresnel + np.asarray(SEA.color, np.float32) * (1 - fresnel)
    return haze(_with_foam(water, points, sun), distance, SKY, 2600.0)


def _with_foam(water: Array, points: Array, sun: list[Light]) -> Array:
    foam = np.zeros(len(points), np.float32)
    near = np.flatnonzero((np.abs(points[:, 1]) < 45) & (np.abs(points[:, 0]) < 130))
    foam[near] = _waterline_foam(points[near])
    white = np.asarray(SKY.sunlight, np.float32) * 0.22 + np.array((0.24, 0.27, 0.32), np.float32)
    return water * (1 - foam[:, None]) + white * foam[:, None]


def render(size: tuple[int, int]) -> Array:
    """Linear RGB (H, W, 3) of the scene at `size` (height, width)."""
    camera = Camera((132.0, 80.0, 14.0), (3.2, -3.6, 8.5), 24.5, size)
    solid = freighter()
    lights = (sun_lights(solid, SKY), sky_lights(solid, SKY))
    rays = camera.rays()
    light = CLOUDS.over(SKY.radiance(np.abs(rays)), rays)
    wet = rays[..., 2] < 0
    mirror = _reflection(solid, camera, lights)
    light[wet] = _sea(camera, rays[wet], mirror, lights[0])
    surface = look(solid, camera)
    ship = haze(shade(surface, solid, SKY, lights), np.full(len(surface.view), 130.0), SKY, 2600.0)
    lapping = 0.5 * fractal(surface.position[:, 0] * 0.4, surface.position[:, 1] * 0.4, 3, 71) - 0.1
    dry = surface.position[:, 2] > lapping
    row, column = np.nonzero(surface.mask)
    light[row[dry], column[dry]] = ship[dry]
    return light
