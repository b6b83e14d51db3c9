"""Sun, sky and shadows: what light reaches a point and what leaves it for the eye."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from meshes import Array, Solid, normalized
from numpy.typing import ArrayLike, NDArray
from rasterizer import Surface, rasterize

AMBIENT_LIGHTS = 60
SUN_LIGHTS = 8


@dataclass(frozen=True)
class Sky:
    """A clear sky over a plain ground; colors are linear RGB.

    Attributes:
        sun: direction (3,) towards the sun.
        sunlight: irradiance of a surface that faces the sun, over pi.
        zenith: radiance overhead.
        horizon: radiance at the horizon.
        ground: radiance of what lies below the horizon.
        glow: radiance added near the sun.
        falloff: how fast the horizon's color gives way to the zenith's.
        skyline: sine of the elevation up to which dark trees hide the sky.
    """

    sun: tuple[float, float, float]
    sunlight: tuple[float, float, float]
    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    ground: tuple[float, float, float]
    glow: tuple[float, float, float] = (0.0, 0.0, 0.0)
    falloff: float = 4.0
    skyline: float = 0.0

    def radiance(self, directions: Array) -> Array:
        """Light (..., 3) that arrives from `directions` (..., 3), without the sun's disc."""
        height = directions[..., 2:]
        mix = np.exp(-self.falloff * np.maximum(height, 0))
        light = np.asarray(self.zenith) * (1 - mix) + np.asarray(self.horizon) * mix
        towards = np.maximum(directions @ normalized(self.sun), 0)[..., None]
        light = light + np.asarray(self.glow) * (0.4 * towards**3 + 0.6 * towards**24)
        share = np.clip(height * 30 + 1, 0, 1)
        if self.skyline:
            azimuth = np.arctan2(directions[..., 1:2], directions[..., :1])
            crowns = self.skyline * (1 + 0.25 * np.sin(23 * azimuth) + 0.2 * np.sin(51 * azimuth))
            light = np.where(height > crowns, light, np.array([0.05, 0.065, 0.03]))
        return (light * share + np.asarray(self.ground) * (1 - share)).astype(np.float32)


@dataclass(frozen=True)
class Light:
    """A distant light with its shadow map.

    Attributes:
        direction: (3,), towards the light.
        color: (3,), radiance it lends to a white surface that faces it.
        axes: rows across, along and towards the light, (3, 3).
        origin: the middle (3,) of the shadow map.
        radius: half the width of the shadow map.
        nearest: (S, S), the greatest distance towards the light in each texel.
    """

    direction: Array
    color: Array
    axes: Array
    origin: Array
    radius: float
    nearest: Array

    def reaches(self, points: Array) -> NDArray[np.bool_]:
        """Which of `points` (P, 3) no part of the solid hides from the light."""
        local = (points - self.origin) @ self.axes.T
        texels = (local[:, :2] / self.radius + 1) * (len(self.nearest) / 2) - 0.5
        column, row = np.rint(texels).astype(np.int32).T
        inside = (np.minimum(column, row) >= 0) & (np.maximum(column, row) < len(self.nearest))
        stored = self.nearest[np.where(inside, row, 0), np.where(inside, column, 0)]
        return ~(inside & (stored > local[:, 2]))

    @property
    def texel(self) -> float:
        """Width of a texel."""
        return 2 * self.radius / len(self.nearest)


Lights = tuple[list[Light], list[Light]]
"""The lights of the sun and those of the sky."""


def _light(solid: Solid, direction: Array, color: ArrayLike, resolution: int) -> Light:
    side = normalized(np.cross(direction, [0.3, 0.5, 0.8]))
    axes = np.stack([side, np.cross(direction, side), direction]).astype(np.float32)
    local = (solid.corners - solid.center) @ axes.T
    pixels = (local[..., :2] / solid.radius + 1) * (resolution / 2)
    nearest = rasterize(pixels, local[..., 2], (resolution, resolution)).nearness
    tint = np.asarray(color, np.float32)
    return Light(direction, tint, axes, solid.center, solid.radius, nearest)


def sphere_directions(count: int) -> Array:
    """Evenly spread unit vectors (count, 3)."""
    index = np.arange(count) + 0.5
    height, angle = 1 - 2 * index / count, index * np.pi * (1 + 5**0.5)
    flat = np.sqrt(1 - height**2)
    return np.stack([flat * np.cos(angle), flat * np.sin(angle), height], 1).astype(np.float32)


def sky_lights(solid: Solid, sky: Sky, count: int = AMBIENT_LIGHTS) -> list[Light]:
    """Lights that stand for the whole sky and the ground's bounce."""
    directions = sphere_directions(count)
    colors = sky.radiance(directions) * 4 / count
    return [_light(solid, way, tint, 256) for way, tint in zip(directions, colors, strict=True)]


def sun_lights(solid: Solid, sky: Sky, *, spread: float = 0.02, detail: int = 1024) -> list[Light]:
    """Lights across a sun disc of angular radius `spread` (radians)."""
    turn = np.arange(SUN_LIGHTS) * 2.39996
    distance = spread * np.sqrt((np.arange(SUN_LIGHTS) + 0.5) / SUN_LIGHTS)
    towards = normalized(sky.sun)
    side = normalized(np.cross(towards, [0, 0, 1]))
    offset = np.outer(np.cos(turn) * distance, side)
    offset += np.outer(np.sin(turn) * distance, np.cross(towards, side))
    color = np.asarray(sky.sunlight) / SUN_LIGHTS
    return [_light(solid, way, color, detail) for way in normalized(towards + offset)]


def irradiance(lights: Sequence[Light], points: Array, normals: Array) -> Array:
    """Light (P, 3) that a white surface at `points` sends out, shadows included."""
    total = np.zeros_like(points)
    for light in lights:
        facing = normals @ light.direction
        lit = np.flatnonzero(facing > 0)
        lifted = points[lit] + normals[lit] * (1.5 * light.texel)
        share = facing[lit] * light.reaches(lifted)
        total[lit] += share[:, None] * light.color
    return total


def shade(surface: Surface, solid: Solid, sky: Sky, lights: Lights) -> Array:
    """Light (P, 3) that the surface sends to the eye.

    Args:
        surface: visible points.
        solid: the solid they lie on.
        sky: what the surface mirrors.
        lights: what shines on it.
    """
    albedo, gloss, reflectance, emission = _material_maps(surface, solid)
    sunny = irradiance(lights[0], surface.position, surface.normal)
    ambient = irradiance(lights[1], surface.position, surface.normal)
    facing = np.clip(-(surface.view * surface.normal).sum(-1, keepdims=True), 0, 1)
    fresnel = reflectance + (1 - reflectance) * (1 - facing) ** 5 * (0.15 + 0.85 * gloss)
    bounce = surface.view + 2 * facing * surface.normal
    open_sky = np.clip(ambient.mean(-1, keepdims=True) / _mean_light(lights[1]), 0.05, 1)
    mirror = sky.radiance(bounce) * open_sky * (0.25 + 0.75 * gloss)
    power = 20 + 700 * gloss**2
    glint = np.maximum(bounce @ normalized(sky.sun), 0)[:, None] ** power * (power + 8) / 60
    matt = albedo * (sunny + ambient) + emission
    return matt * (1 - fresnel) + fresnel * (mirror + glint * sunny)


def _mean_light(lights: Sequence[Light]) -> float:
    upward = [float(light.color.mean()) * max(float(light.direction[2]), 0) for light in lights]
    return sum(upward) * 0.7 + 1e-6


def _material_maps(surface: Surface, solid: Solid) -> tuple[Array, Array, Array, Array]:
    """Albedo (P, 3), gloss (P, 1), reflectance (P, 1) and emission (P, 3) of visible points."""
    materials = solid.materials
    albedo = np.array([material.color for material in materials], np.float32)[surface.material]
    for index in np.unique(surface.material):
        paint = materials[index].paint
        if paint is not None:
            chosen = surface.material == index
            albedo[chosen] = paint(surface.position[chosen])
    gloss = np.array([[material.gloss] for material in materials], np.float32)
    reflectance = np.array([[material.reflectance] for material in materials], np.float32)
    emission = np.array([material.emission for material in materials], np.float32)
    seen = surface.material
    return albedo, gloss[seen], reflectance[seen], emission[seen]


def develop(light: Array, size: tuple[int, int], exposure: float) -> NDArray[np.uint8]:
    """Turn linear light into a photograph: bloom, tone curve, vignette, grain.

    Args:
        light: linear RGB (H, W, 3), supersampled.
        size: (height, width) of the picture.
        exposure: factor on the light.

    Returns:
        uint8 (height, width, 3), BGR.
    """
    small = cv2.resize(np.minimum(light * exposure, 4), size[::-1], interpolation=cv2.INTER_AREA)
    bloom = cv2.GaussianBlur(np.maximum(small - 0.9, 0), (0, 0), size[0] / 90)
    small = small + 0.25 * bloom
    down, right = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    small *= (1 - 0.10 * (down**2 + right**2))[..., None]
    toned = small * (2.51 * small + 0.03) / (small * (2.43 * small + 0.59) + 0.14)
    picture = np.clip(toned, 0, 1) ** (1 / 2.2)
    grain = np.random.default_rng(7).normal(0, 1, (*size, 3))
    grain = cv2.GaussianBlur(grain, (0, 0), 0.7) * 0.012 + grain * 0.003
    return np.clip((picture + grain) * 255 + 0.5, 0, 255).astype(np.uint8)[..., ::-1]
