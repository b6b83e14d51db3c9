"""A box lorry on a country road on a sunny day."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from lighting import Lights, Sky, irradiance, shade, sky_lights, sun_lights
from meshes import Array, Material, Part, Solid, assemble, beam, box, prism, turned
from rasterizer import Camera, look
from surroundings import Clouds, fractal, haze, layered, noise, smoothstep

SKY = Sky(
    sun=(0.62, 0.50, 0.66),
    sunlight=(1.75, 1.58, 1.30),
    zenith=(0.10, 0.24, 0.56),
    horizon=(0.46, 0.62, 0.84),
    ground=(0.13, 0.13, 0.11),
    falloff=3.0,
)
CLOUDS = Clouds(
    scale=(3.6, 8.0),
    cover=0.42,
    lit=(1.20, 1.17, 1.12),
    dark=(0.46, 0.54, 0.66),
    seed=33,
    band=(0.03, 0.16),
)

SURROUNDINGS = replace(SKY, skyline=0.10)
RED = (0.40, 0.018, 0.015)
HALF = 1.24
CAB_BACK, CAB_FRONT = 2.15, 4.15
BOX_BACK, BOX_FRONT, BOX_FLOOR, BOX_TOP = -4.6, 2.0, 1.08, 3.72
WHEELS = (3.05, -2.7)


def _cargo_paint(position: Array) -> Array:
    """White panels with rivet lines, a red swoosh and road grime towards the floor."""
    x, _, z = position.T
    color = np.tile(np.array((0.74, 0.74, 0.72), np.float32), (len(x), 1))
    rise = BOX_FLOOR + 0.42 + 0.045 * (x - BOX_BACK) ** 1.8
    color[(z < rise + 0.34) & (z > rise)] = RED
    color[(z < rise + 0.50) & (z > rise + 0.40)] = (0.75, 0.33, 0.03)
    color[np.abs((x / 1.1) % 1 - 0.5) > 0.492] *= 0.72
    grime = smoothstep(0.35, 0.9, fractal(x * 1.4, z * 0.6, 4, 41) * 0.5 + 0.75 - 0.5 * (z - 1.0))
    return color * (1 - 0.38 * grime[:, None]) * (0.95 + 0.1 * noise(x * 0.8, z, 42))[:, None]


def _cab_paint(position: Array) -> Array:
    """Red with door seams and dust towards the road."""
    x, y, z = position.T
    color = np.tile(np.array(RED, np.float32), (len(x), 1))
    seam = (np.abs(x - 2.42) < 0.012) | (np.abs(x - 3.66) < 0.012) & (z > 1.0)
    color[seam & (z < 2.75)] *= 0.25
    dust = smoothstep(0.9, 0.2, z - 0.5 - 0.5 * fractal(x * 2 + y, z * 2, 4, 43))[:, None] * 0.3
    return (color * (1 - dust) + np.array((0.16, 0.13, 0.10)) * dust).astype(np.float32)


def _screen_paint(position: Array) -> Array:
    """What shows through the windscreen: dashboard, seats and the light of the rear window."""
    _, y, z = position.T
    color = np.tile(np.array((0.012, 0.016, 0.018), np.float32), (len(y), 1))
    seat = (np.abs(np.abs(y) - 0.55) / 0.26) ** 4 + (np.maximum(z - 1.95, 0) / 0.18) ** 4
    head = (np.abs(np.abs(y) - 0.55) / 0.13) ** 4 + ((z - 2.26) / 0.10) ** 4
    color[(seat < 1) | (head < 1)] = (0.05, 0.05, 0.055)
    wheel = np.abs(np.hypot((y - 0.55) / 1.15, (z - 1.86) / 0.8) - 0.2) < 0.022
    color[wheel] = (0.004, 0.004, 0.004)
    color[z < 1.86 + 0.02 * np.sin(y * 9)] = (0.035, 0.035, 0.035)
    return color


CAB = Material(RED, 0.05, 0.75, paint=_cab_paint)
CARGO = Material(reflectance=0.04, gloss=0.4, paint=_cargo_paint)
BUMPER = Material((0.06, 0.06, 0.065), 0.04, 0.3)
TRIM = Material((0.60, 0.60, 0.60), 0.04, 0.4)
GLASS = Material((0.012, 0.016, 0.018), 0.16, 0.95)
SCREEN = Material(reflectance=0.16, gloss=0.95, paint=_screen_paint)
PLASTIC = Material((0.022, 0.022, 0.024), 0.04, 0.25)
RUBBER = Material((0.018, 0.018, 0.018), 0.03, 0.1)
STEEL = Material((0.45, 0.45, 0.46), 0.30, 0.4)
CHROME = Material((0.30, 0.30, 0.31), 0.65, 0.9)
LAMP = Material((0.75, 0.75, 0.72), 0.20, 0.9, emission=(0.25, 0.25, 0.22))
AMBER = Material((0.80, 0.30, 0.02), 0.06, 0.7)
TAIL_LAMP = Material((0.50, 0.02, 0.01), 0.06, 0.7)


def _wheel(x: float) -> list[Part]:
    """The left wheel at station `x`."""
    tyre = [(-0.16, 0.26), (-0.16, 0.47), (-0.11, 0.51), (0.11, 0.51), (0.16, 0.47), (0.16, 0.28)]
    rim = [(0.15, 0.29), (0.13, 0.27), (0.02, 0.24), (-0.01, 0.13), (0.10, 0.11), (0.12, 0.0)]
    parts = [
        turned([(-0.16, 0.0), *tyre], RUBBER, axis=1, count=40),
        turned(rim, STEEL, axis=1, count=40),
    ]
    for angle in np.arange(8) * np.pi / 4:
        bolt = np.array([0.18 * np.cos(angle), 0.0, 0.18 * np.sin(angle)])
        parts.append(beam(bolt, bolt + np.array([0, 0.05, 0]), 0.022, CHROME))
    return [part.moved((x, HALF - 0.18, 0.51)) for part in parts]


def _cab_shell() -> list[Part]:
    outline = [
        (CAB_BACK, 0.62),
        (2.50, 0.62),
        (2.52, 1.06),
        (2.72, 1.20),
        (3.38, 1.20),
        (3.58, 1.06),
        (3.60, 0.62),
        (4.10, 0.62),
        (4.22, 0.80),
        (4.22, 1.62),
        (4.16, 1.80),
        (3.88, 2.78),
        (3.74, 2.90),
        (CAB_BACK, 2.94),
    ]
    windscreen = prism(
        [(4.195, 1.80), (3.935, 2.70), (3.80, 2.70), (3.9, 1.80)], HALF - 0.10, SCREEN, 0.03
    )
    deflector = [(2.2, 2.9), (3.55, 2.9), (3.2, 3.14), (2.75, 3.42), (2.2, 3.60)]
    return [
        prism(outline, HALF - 0.02, CAB, 0.06),
        windscreen,
        prism(deflector, HALF - 0.16, CAB, 0.12),
        box((3.86, -HALF + 0.1, 2.72), (4.12, HALF - 0.1, 2.80), PLASTIC, 0.03),
    ]


def _cab_front() -> list[Part]:
    """Grille, bumper and plate."""
    parts = [
        box((4.0, -0.86, 1.02), (4.245, 0.86, 1.60), PLASTIC, 0.03),
        box((3.62, -HALF, 0.42), (4.36, HALF, 0.92), BUMPER, 0.07),
        box((4.2, -0.62, 0.50), (4.38, 0.62, 0.70), PLASTIC, 0.03),
        box((4.36, -0.27, 0.74), (4.385, 0.27, 0.86), Material((0.75, 0.72, 0.5)), 0.01),
        box((4.1, -1.02, 1.70), (4.235, 1.02, 1.745), PLASTIC, 0.01),
        box((4.2, -0.30, 1.64), (4.25, 0.30, 1.69), CHROME, 0.02),
        box((4.0, -HALF + 0.05, 0.96), (4.245, HALF - 0.05, 0.985), PLASTIC, 0.01),
    ]
    for y in (-0.75, 0.05):
        parts.append(beam((4.21, y, 1.80), (4.13, y + 0.62, 2.12), 0.018, PLASTIC))
    for y in (-0.6, -0.3, 0.0, 0.3, 0.6):
        parts.append(box((3.72, y - 0.07, 2.90), (3.84, y + 0.07, 2.97), AMBER, 0.03))
    for z in (1.12, 1.26, 1.40, 1.54):
        parts.append(box((4.2, -0.82, z - 0.025), (4.275, 0.82, z + 0.025), CHROME, 0.012))
    return parts


def _cab_side() -> list[Part]:
    """Left side of the cab: window, mirror, handle, lamps and steps."""
    window = [(2.50, 1.78), (3.92, 1.78), (3.70, 2.62), (2.50, 2.62)]
    pane = prism(window, 0.02, GLASS, 0.01).moved((0, HALF - 0.025, 0))
    frame = [(2.46, 1.74), (3.96, 1.74), (3.72, 2.66), (2.46, 2.66)]
    return [
        prism(frame, 0.012, PLASTIC, 0.01).moved((0, HALF - 0.028, 0)),
        pane,
        box((3.48, HALF - 0.05, 1.80), (3.53, HALF + 0.005, 2.6), PLASTIC, 0.01),
        box((2.56, HALF - 0.03, 1.55), (2.80, HALF + 0.03, 1.60), PLASTIC, 0.015),
        box((4.02, HALF + 0.10, 1.85), (4.16, HALF + 0.36, 2.45), PLASTIC, 0.04),
        beam((3.9, HALF - 0.05, 2.5), (4.08, HALF + 0.25, 2.42), 0.025, PLASTIC),
        beam((3.95, HALF - 0.05, 1.9), (4.08, HALF + 0.25, 1.95), 0.025, PLASTIC),
        box((4.20, 0.66, 0.56), (4.375, 1.20, 0.88), PLASTIC, 0.04),
        box((4.20, 0.70, 0.60), (4.39, 0.93, 0.84), LAMP, 0.05),
        box((4.20, 0.95, 0.60), (4.39, 1.16, 0.84), LAMP, 0.05),
        box((4.10, 1.0, 1.02), (4.25, 1.20, 1.16), AMBER, 0.03),
        box((2.16, HALF - 0.3, 0.42), (2.52, HALF - 0.02, 0.62), PLASTIC, 0.03),
        box((3.2, HALF - 0.4, 3.0), (3.3, HALF - 0.3, 3.1), AMBER, 0.02),
    ]


def _chassis() -> list[Part]:
    parts = [
        box((BOX_BACK, -0.5, 0.72), (4.0, 0.5, 0.98), PLASTIC, 0.03),
        box((BOX_BACK, -HALF, BOX_FLOOR), (BOX_FRONT, HALF, BOX_TOP), CARGO, 0.04),
        box((BOX_BACK, -HALF - 0.01, 0.96), (BOX_FRONT, HALF + 0.01, 1.12), STEEL, 0.02),
        box((BOX_BACK - 0.05, -HALF, 0.55), (BOX_BACK + 0.1, HALF, 0.68), TRIM, 0.03),
        turned([(-0.5, 0), (-0.5, 0.28), (0.5, 0.28), (0.5, 0)], STEEL).moved((1.0, 0.85, 0.70)),
    ]
    edge = HALF + 0.02
    for z in (BOX_TOP - 0.08, BOX_FLOOR - 0.01):
        parts.append(box((BOX_BACK, HALF - 0.02, z), (BOX_FRONT, edge, z + 0.09), TRIM, 0.02))
    for x in (BOX_BACK, BOX_FRONT - 0.08):
        parts.append(box((x, HALF - 0.06, 1.08), (x + 0.1, edge, BOX_TOP + 0.01), TRIM, 0.02))
    return parts


def _side_guard() -> list[Part]:
    """Left side rails, mudguard flap and marker lamps behind the cab."""
    parts = [
        box((-3.42, 0.84, 0.30), (-3.38, 1.22, 1.0), RUBBER, 0.01),
        box((BOX_BACK - 0.08, 0.8, 0.70), (BOX_BACK, 1.15, 0.85), TAIL_LAMP, 0.02),
    ]
    for z in (0.50, 0.76):
        parts.append(box((-1.95, 1.14, z), (0.35, 1.19, z + 0.12), TRIM, 0.02))
    for x in (-1.7, 0.1):
        parts.append(box((x, 1.12, 0.48), (x + 0.06, 1.16, 1.0), PLASTIC))
    for x in (-4.2, -1.2, 1.6):
        parts.append(box((x, HALF, 1.0), (x + 0.1, HALF + 0.03, 1.06), AMBER, 0.01))
    return parts


def lorry() -> Solid:
    """The whole vehicle, front towards +x, standing on z = 0."""
    left = [*_cab_side(), *_side_guard()]
    for x in WHEELS:
        left += _wheel(x)
    right = [part.mirrored() for part in left]
    return assemble([*_cab_shell(), *_cab_front(), *_chassis(), *left, *right])


def _road(points: Array, distance: Array) -> Array:
    """Albedo (P, 3) of the ground: asphalt with markings between grass verges."""
    x, y = points[:, 0], points[:, 1]
    near = np.exp(-distance / 40)
    grit = (noise(x * 38, y * 38, 52) - 0.5) * near * 0.35
    patches = (fractal(x * 0.4, y * 1.6, 4, 51) - 0.5) * 0.5
    tracks = 1 - 0.16 * np.exp(-(((np.abs(y) - 0.95) / 0.35) ** 2))
    asphalt = 0.155 * (1 + grit + patches) * tracks
    color = np.outer(asphalt, (1.0, 0.985, 0.96))
    worn = smoothstep(0.25, 0.5, fractal(x * 3, y * 3, 4, 53))[:, None] * 0.85
    center = (np.abs(y - 2.35) < 0.07) & ((x / 6.0 + 0.3) % 1 < 0.5)
    line = (center | (np.abs(y + 1.95) < 0.07) | (np.abs(y - 6.6) < 0.07))[:, None]
    color = np.where(line, color * (1 - worn) + 0.62 * worn, color)
    edge = (fractal(x * 0.9, y * 0.9, 4, 54) - 0.5) * 0.9
    verge = smoothstep(2.35, 2.75, np.maximum(-y, y - 4.7) + edge)[:, None]
    return (color * (1 - verge) + _grass(x, y, near) * verge).astype(np.float32)


def _grass(x: Array, y: Array, near: Array) -> Array:
    blades = (noise(x * 17, y * 17, 55) - 0.5) * near
    tufts = (fractal(x * 0.8, y * 0.8, 5, 56) - 0.5) * 1.3
    dry = smoothstep(0.42, 0.66, fractal(x * 0.12, y * 0.12, 4, 57))[:, None]
    green, straw = np.array((0.085, 0.15, 0.03)), np.array((0.26, 0.22, 0.09))
    return (green * (1 - dry) + straw * dry) * np.maximum(1 + blades + tufts, 0.2)[:, None]


def _trees(background: Array, rays: Array, base: float, height: float, seed: int) -> Array:
    """A line of trees against `background` (H, W, 3), its crowns `height` radians tall."""
    azimuth = np.arctan2(rays[::2, ::2, 1], rays[::2, ::2, 0])
    elevation = np.arcsin(rays[::2, ::2, 2])
    along, up = azimuth / height, (elevation - base) / height
    rounding = 0.30 * (noise(along * 2.4, up * 2.4, seed + 5) - 0.5)
    crown = 0.35 + 0.75 * fractal(along * 0.55, 0 * along, 3, seed) + rounding
    leaves = fractal(along * 5, up * 5, 5, seed + 9) - 0.5
    cover = smoothstep(0.0, 0.07, crown - up + 0.30 * leaves)
    cover *= smoothstep(-0.02, 0.03, up + 0.12 * leaves)
    puffs = fractal(along * 2.2 + 0.3, up * 2.6 + 0.45, 4, seed + 20)
    puffs -= fractal(along * 2.2, up * 2.6, 4, seed + 20)
    light = np.clip(0.34 + 0.42 * up - 1.5 * puffs + 0.7 * leaves, 0.05, 1.2)[..., None]
    color = np.array((0.03, 0.05, 0.03)) + light * np.array((0.21, 0.29, 0.075))
    return layered(background, color, cover)


def _ground(camera: Camera, rays: Array, lights: Lights) -> Array:
    """Light (P, 3) from the ground along downward unit rays (P, 3)."""
    distance = np.minimum(-camera.eye[2] / np.minimum(rays[:, 2], -1e-4), 4000)
    points = np.asarray(camera.eye, np.float32) + rays * distance[:, None]
    points[:, 2] = 0
    up = np.tile(np.array([[0, 0, 1]], np.float32), (len(points), 1))
    total = np.zeros_like(points)
    near = np.flatnonzero((np.abs(points[:, 0]) < 10) & (np.abs(points[:, 1]) < 7))
    for group in lights:
        plain = sum(light.color * max(float(light.direction[2]), 0) for light in group)
        total += np.asarray(plain, np.float32)
        total[near] += irradiance(group, points[near], up[near]) - plain
    return haze(_road(points, distance) * total, distance, SKY, 900.0)


def render(size: tuple[int, int]) -> Array:
    """Linear RGB (H, W, 3) of the scene at `size` (height, width)."""
    camera = Camera((14.5, 9.6, 1.9), (0.42, -0.41, 1.78), 26.0, size)
    solid = lorry()
    lights = (sun_lights(solid, SKY), sky_lights(solid, SURROUNDINGS))
    rays = camera.rays()
    light = CLOUDS.over(SKY.radiance(np.abs(rays)), rays)
    land = rays[..., 2] < -0.0005
    light[land] = _ground(camera, rays[land], lights)
    light = _trees(light, rays, -0.004, 0.034, 81) * 0.75 + 0.25 * light
    light = _trees(light, rays, -0.014, 0.080, 91).astype(np.float32)
    soft = cv2.GaussianBlur(light, (0, 0), size[0] / 400)
    far = smoothstep(-0.055, -0.03, rays[..., 2])[..., None]
    light = light * (1 - far) + soft * far
    surface = look(solid, camera)
    light[surface.mask] = shade(surface, solid, SURROUNDINGS, lights)
    return light
