"""A camera and a z-buffer rasterizer for triangle soups, in NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from meshes import Array, Solid, normalized
from numpy.typing import ArrayLike, NDArray

Indices = NDArray[np.int64]

CHUNK_PIXELS = 1_500_000


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        eye: position (3,).
        target: point (3,) in the middle of the picture.
        field_of_view: vertical, degrees.
        size: picture (height, width) in pixels.
        up: direction (3,) that is up in the picture.
    """

    eye: tuple[float, float, float]
    target: tuple[float, float, float]
    field_of_view: float
    size: tuple[int, int]
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)

    @property
    def axes(self) -> Array:
        """Rows right, down and forward, (3, 3)."""
        forward = normalized(np.subtract(self.target, self.eye))
        right = normalized(np.cross(forward, self.up))
        return np.stack([right, np.cross(forward, right), forward])

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return self.size[0] / 2 / float(np.tan(np.radians(self.field_of_view) / 2))

    def project(self, points: Array) -> tuple[Array, Array]:
        """Pixel coordinates (..., 2) as (x, y), and nearness 1 / depth, of points (..., 3)."""
        local = (points - np.asarray(self.eye, np.float32)) @ self.axes.T
        nearness = 1 / local[..., 2]
        middle = np.array([self.size[1] / 2, self.size[0] / 2], np.float32)
        return local[..., :2] * nearness[..., None] * self.focal + middle, nearness

    def rays(self) -> Array:
        """Unit view directions (height, width, 3) through the pixel centers."""
        height, width = self.size
        down, right = np.mgrid[:height, :width].astype(np.float32) + 0.5
        local = np.stack([right - width / 2, down - height / 2, np.full_like(down, self.focal)], -1)
        return normalized(local @ self.axes)


@dataclass(frozen=True)
class Coverage:
    """Which triangle each pixel sees: `triangle` (H, W), -1 for none, and `nearness` (H, W)."""

    triangle: NDArray[np.int32]
    nearness: Array


@dataclass(frozen=True)
class Surface:
    """The visible points of a solid.

    Attributes:
        mask: bool (H, W), pixels that see the solid; the rest lists those P pixels in order.
        position: (P, 3).
        normal: (P, 3), unit, facing the eye.
        view: (P, 3), unit, from the eye to the point.
        material: (P,).
    """

    mask: NDArray[np.bool_]
    position: Array
    normal: Array
    view: Array
    material: NDArray[np.int64]


def rasterize(pixels: Array, nearness: Array, size: tuple[int, int]) -> Coverage:
    """Draw triangles with a z-buffer.

    Args:
        pixels: corner coordinates (T, 3, 2) as (x, y).
        nearness: (T, 3), linear over the picture; the largest wins.
        size: (height, width).
    """
    nearest = np.full(size[0] * size[1], -np.inf, np.float32)
    owner = np.full(size[0] * size[1], -1, np.int32)
    triangle, row = _rows(pixels, size[0])
    first, last = _spans(pixels, triangle, row, size[1])
    slope = _slopes(pixels, nearness)
    offset = np.stack([first, row], 1) + 0.5 - pixels[triangle, 0]
    start = nearness[triangle, 0] + (offset * slope[triangle]).sum(-1)
    for part, step in _pixels(np.maximum(last - first, 0)):
        flat = (row * size[1] + first)[part] + step
        near = (start[part] + slope[triangle[part], 0] * step).astype(np.float32)
        np.maximum.at(nearest, flat, near)
        won = near >= nearest[flat]
        owner[flat[won]] = triangle[part[won]]
    return Coverage(owner.reshape(size), nearest.reshape(size))


def _rows(pixels: Array, height: int) -> tuple[Indices, Indices]:
    """Every pair of a triangle and a picture row whose pixel centers it may reach."""
    down = pixels[..., 1]
    low, high = _first_center(_least(down), height), _first_center(-_least(-down), height)
    counts = high - low
    triangle = np.repeat(np.arange(len(pixels)), counts)
    return triangle, np.arange(len(triangle)) - np.repeat(np.cumsum(counts) - counts - low, counts)


def _spans(pixels: Array, triangle: Indices, row: Indices, width: int) -> tuple[Indices, Indices]:
    """First column, and the one after the last, that a triangle covers in a row."""
    start, end = pixels[triangle], np.roll(pixels, -1, axis=1)[triangle]
    middle = row[:, None] + 0.5
    crossed = (start[..., 1] <= middle) != (end[..., 1] <= middle)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (middle - start[..., 1]) / (end[..., 1] - start[..., 1])
        column = start[..., 0] + share * (end[..., 0] - start[..., 0])
    first = _least(np.where(crossed, column, np.inf))
    last = -_least(np.where(crossed, -column, np.inf))
    return _first_center(first, width), _first_center(last, width)


def _least(values: Array) -> Array:
    """Row minima of (N, 3); faster than `min(1)` on so short an axis."""
    return np.minimum(np.minimum(values[:, 0], values[:, 1]), values[:, 2])


def _first_center(edge: Array, limit: int) -> Indices:
    """Index of the first pixel center at or after `edge`, within 0 to `limit`."""
    return np.ceil(np.clip(edge, 0, limit) - 0.5).astype(np.int64)


def _slopes(pixels: Array, nearness: Array) -> Array:
    """Change of nearness per pixel (T, 2) across and down; zero for triangles seen edge-on."""
    edges = pixels[:, 1:] - pixels[:, :1]
    rise = nearness[:, 1:] - nearness[:, :1]
    area = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
    across = rise[:, 0] * edges[:, 1, 1] - rise[:, 1] * edges[:, 0, 1]
    down = rise[:, 1] * edges[:, 0, 0] - rise[:, 0] * edges[:, 1, 0]
    flat = np.abs(area) < 1e-6
    slope = np.stack([across, down], 1) / np.where(flat, 1, area)[:, None]
    return np.where(flat[:, None], 0, slope)


def _pixels(counts: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Index of the span and step along it of every pixel of spans `counts` (S,), in chunks."""
    groups = np.cumsum(counts) // CHUNK_PIXELS
    bounds = np.flatnonzero(np.diff(groups, prepend=-1, append=groups[-1:] + 1))
    for low, high in itertools.pairwise(bounds):
        inner = counts[low:high]
        part = np.repeat(np.arange(low, high), inner)
        yield part, np.arange(len(part)) - np.repeat(np.cumsum(inner) - inner, inner)


def _barycentric(corners: Array, column: ArrayLike, row: ArrayLike) -> Array:
    """Barycentric weights (P, 3) of pixel positions in triangles (P, 3, 2); NaN if degenerate."""
    first, second, third = (corners[:, index] for index in range(3))
    across, along = second - first, third - first
    x = np.asarray(column, np.float32) - first[:, 0]
    y = np.asarray(row, np.float32) - first[:, 1]
    area = across[:, 0] * along[:, 1] - across[:, 1] * along[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        beta = (x * along[:, 1] - y * along[:, 0]) / area
        gamma = (across[:, 0] * y - across[:, 1] * x) / area
    return np.stack([1 - beta - gamma, beta, gamma], -1)


def look(solid: Solid, camera: Camera) -> Surface:
    """The points of `solid` that `camera` sees."""
    pixels, nearness = camera.project(solid.corners)
    seen = rasterize(pixels, nearness, camera.size).triangle
    row, column = np.nonzero(seen >= 0)
    triangle = seen[row, column]
    weights = _barycentric(pixels[triangle], column + 0.5, row + 0.5) * nearness[triangle]
    weights = (weights / weights.sum(-1, keepdims=True))[:, :, None]
    corners = solid.corners[triangle]
    position = (weights * corners).sum(1)
    view = normalized(position - np.asarray(camera.eye, np.float32))
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal = (weights * solid.normals[triangle]).sum(1)
    normal *= np.where(((face * view).sum(-1) > 0) ^ ((face * normal).sum(-1) < 0), -1, 1)[:, None]
    return Surface(seen >= 0, position, normalized(normal), view, solid.material[triangle])
