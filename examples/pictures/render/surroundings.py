"""Noise, clouds and water."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from lighting import Sky
from meshes import Array, normalized
from numpy.typing import ArrayLike


def noise(x: ArrayLike, y: ArrayLike, seed: int = 0) -> Array:
    """Smooth random values in 0-1 with features of size one; repeats every 256."""
    table = np.random.default_rng(seed).random((257, 257), np.float32)
    table[-1], table[:, -1] = table[0], table[:, 0]
    across, down = np.asarray(x, np.float32), np.asarray(y, np.float32)
    left, top = np.floor(across), np.floor(down)
    u, v = across - left, down - top
    u, v = u * u * u * (u * (u * 6 - 15) + 10), v * v * v * (v * (v * 6 - 15) + 10)
    cell = (top.astype(np.int64) & 255) * 257 + (left.astype(np.int64) & 255)
    upper = table.take(cell) * (1 - u) + table.take(cell + 1) * u
    lower = table.take(cell + 257) * (1 - u) + table.take(cell + 258) * u
    return upper * (1 - v) + lower * v


def fractal(x: ArrayLike, y: ArrayLike, octaves: int = 5, seed: int = 0) -> Array:
    """Sum of `noise` octaves, each half as strong and turned a little, in 0-1."""
    across: Array = np.asarray(x, np.float32)
    down: Array = np.asarray(y, np.float32)
    total, weight = np.zeros(np.broadcast(across, down).shape, np.float32), 0.5
    for octave in range(octaves):
        total += weight * noise(across, down, seed + octave)
        across, down = 1.62 * across - 1.2 * down + 17.3, 1.2 * across + 1.62 * down + 5.1
        weight /= 2
    return total / np.float32(1 - 2.0**-octaves)


def smoothstep(low: float, high: float, value: ArrayLike) -> Array:
    """0 below `low`, 1 above `high`, smooth between."""
    share = np.clip((np.asarray(value, np.float32) - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def layered(background: Array, color: Array, cover: Array) -> Array:
    """`color` (h, w, 3) of opacity `cover` (h, w), enlarged to lie over `background` (H, W, 3)."""
    size = background.shape[1::-1]
    opacity = cv2.resize(cover, size)[..., None]
    return background * (1 - opacity) + cv2.resize(color.astype(np.float32), size) * opacity


@dataclass(frozen=True)
class Clouds:
    """Cumulus drawn on the dome of the sky.

    Attributes:
        scale: clouds per radian, (azimuth, elevation).
        cover: share of the sky, about 0-1.
        lit: radiance of sunlit cloud.
        dark: radiance of shaded cloud.
        seed: seed of the noise.
        towards_sun: direction of the light on the dome, (azimuth, elevation).
        band: elevations (radians) between which the clouds fade in.
    """

    scale: tuple[float, float]
    cover: float
    lit: tuple[float, float, float]
    dark: tuple[float, float, float]
    seed: int
    towards_sun: tuple[float, float] = (0.4, 0.9)
    band: tuple[float, float] = (-2.0, -1.9)

    def _density(self, u: Array, v: Array, octaves: int) -> Array:
        warp = 0.5 * (fractal(u * 0.9, v * 0.9, 3, self.seed + 50) - 0.5)
        billows = fractal(u + warp, v - warp, octaves, self.seed)
        broad = noise(u * 0.35, v * 0.35, self.seed + 90)
        return np.maximum(0.75 * billows + 0.25 * broad - 0.62 + 0.28 * self.cover, 0) * 7

    def over(self, background: Array, rays: Array) -> Array:
        """Clouds in front of a sky: `background` and `rays` are (H, W, 3), supersampled."""
        color, cover = self._layer(rays[::2, ::2])
        return layered(background, color, cover)

    def _layer(self, rays: Array) -> tuple[Array, Array]:
        """Radiance (H, W, 3) and opacity (H, W) of the clouds along `rays`."""
        azimuth = np.arctan2(rays[..., 1], rays[..., 0])
        elevation = np.arcsin(np.clip(rays[..., 2], -1, 1))
        u, v = azimuth * self.scale[0] + 40, elevation * self.scale[1] + 40
        density = self._density(u, v, 7) * smoothstep(*self.band, elevation)
        depth = np.zeros_like(density)
        for step in np.array([0.06, 0.16, 0.32, 0.55], np.float32):
            ahead = self._density(u + self.towards_sun[0] * step, v + self.towards_sun[1] * step, 5)
            depth += ahead * step * 2.2
        light = 0.92 * np.exp(-1.6 * depth) + 0.08
        light = (light * (0.82 + 0.18 * np.exp(-density)))[..., None]
        color = np.asarray(self.dark) * (1 - light) + np.asarray(self.lit) * light
        return color.astype(np.float32), 1 - np.exp(-2.6 * density)


@dataclass(frozen=True)
class Sea:
    """Wind waves on the plane z = 0.

    Attributes:
        wind: direction (2,) the waves run to.
        length: longest wave, metres.
        steepness: root mean square slope.
        color: radiance that comes out of the water.
        seed: seed of the waves.
    """

    wind: tuple[float, float]
    length: float
    steepness: float
    color: tuple[float, float, float]
    seed: int

    def slopes(self, points: Array, footprint: Array) -> tuple[Array, Array]:
        """Mean slope (P, 2) and unresolved slope (P,) of pixels of size `footprint` (P,)."""
        random = np.random.default_rng(self.seed)
        count = 56
        lengths = self.length * 0.5 ** (np.arange(count) / count * 8.5)
        angles = np.arctan2(self.wind[1], self.wind[0]) + random.normal(0, 0.55, count)
        phases = random.uniform(0, 2 * np.pi, count)
        slope = np.zeros((len(points), 2), np.float32)
        lost = np.zeros(len(points), np.float32)
        share = self.steepness * np.sqrt(2 / count)
        for length, angle, phase in zip(lengths, angles, phases, strict=True):
            way = np.array([np.cos(angle), np.sin(angle)], np.float32)
            wave = np.float32(2 * np.pi / length)
            keep = np.exp(-((0.8 * wave * footprint) ** 2))
            swing = np.cos(wave * (points[:, :2] @ way) + np.float32(phase)) * keep * share
            slope += swing[:, None] * way
            lost += share**2 / 2 * (1 - keep**2)
        return slope, np.sqrt(lost)


def mirrored_rays(view: Array, slope: Array) -> tuple[Array, Array]:
    """Directions (P, 3) of rays `view` (P, 3) after the water, and their Fresnel share (P, 1)."""
    normal = normalized(np.column_stack([-slope, np.ones(len(slope), np.float32)]))
    facing = -(view * normal).sum(-1, keepdims=True)
    bounce = view + 2 * facing * normal
    bounce[:, 2] = np.abs(bounce[:, 2])
    return normalized(bounce), 0.02 + 0.98 * (1 - np.clip(facing, 0.02, 1)) ** 5


def haze(light: Array, distance: Array, sky: Sky, reach: float) -> Array:
    """Light (P, 3) dimmed and veiled by the air over `distance` (P,) metres."""
    clear = np.exp(-distance / reach)[:, None]
    return light * clear + np.asarray(sky.horizon, np.float32) * (1 - clear)
