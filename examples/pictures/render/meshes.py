"""Triangle meshes built from lofted rings: boxes, turned bodies, beams and wings.

Lengths are metres; x points forward, y to the left and z up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating[Any]]  # float32, or float64 where NumPy widens it
Paint = Callable[[Array], Array]

CREASE_COSINE = 0.75


@dataclass(frozen=True)
class Material:
    """How a surface takes light.

    Attributes:
        color: linear RGB albedo.
        reflectance: mirror reflection at normal incidence, 0-1.
        gloss: share of the mirror reflection that survives the surface's roughness, 0-1.
        emission: linear RGB light given off.
        paint: positions (N, 3) to albedo (N, 3), instead of the plain `color`.
    """

    color: tuple[float, float, float] = (0.5, 0.5, 0.5)
    reflectance: float = 0.04
    gloss: float = 0.3
    emission: tuple[float, float, float] = (0.0, 0.0, 0.0)
    paint: Paint | None = None


@dataclass(frozen=True)
class Part:
    """Triangles of one material: `corners` and `normals` are float32 (T, 3, 3)."""

    corners: Array
    normals: Array
    material: Material

    def mirrored(self) -> Part:
        """The part reflected from left to right."""
        flip = np.array([1, -1, 1], np.float32)
        return Part(self.corners * flip, self.normals * flip, self.material)

    def moved(self, offset: ArrayLike) -> Part:
        """The part shifted by `offset` (3,)."""
        return Part(self.corners + np.asarray(offset, np.float32), self.normals, self.material)


@dataclass(frozen=True)
class Solid:
    """All parts of a model in one soup: `material` (T,) indexes `materials`."""

    corners: Array
    normals: Array
    material: NDArray[np.int64]
    materials: tuple[Material, ...]

    @cached_property
    def center(self) -> Array:
        """Middle of the bounding box, (3,)."""
        points = self.corners.reshape(-1, 3)
        return np.asarray((points.min(0) + points.max(0)) / 2, np.float32)

    @cached_property
    def radius(self) -> float:
        """Radius of a sphere about `center` that holds every corner."""
        return float(np.linalg.norm(self.corners.reshape(-1, 3) - self.center, axis=1).max())

    def reflected_in_water(self) -> Solid:
        """The solid mirrored in the plane z = 0."""
        flip = np.array([1, 1, -1], np.float32)
        return Solid(self.corners * flip, self.normals * flip, self.material, self.materials)


def assemble(parts: Sequence[Part]) -> Solid:
    """Join parts into one solid."""
    return Solid(
        np.concatenate([part.corners for part in parts]),
        np.concatenate([part.normals for part in parts]),
        np.repeat(np.arange(len(parts)), [len(part.corners) for part in parts]),
        tuple(part.material for part in parts),
    )


def normalized(vectors: ArrayLike) -> Array:
    """Vectors (..., 3) scaled to length one; zero stays zero."""
    values = np.asarray(vectors, np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-9)


def loft(rings: ArrayLike, material: Material) -> Part:
    """Skin over closed rings, smooth where the surface bends gently and sharp at creases.

    Args:
        rings: float array (N, M, 3), N rings of M points each.
        material: material of the skin.
    """
    points = np.asarray(rings, np.float32)
    ahead = np.roll(points, -1, axis=1)
    quads = np.stack([points[:-1], points[1:], ahead[1:], ahead[:-1]], axis=2)
    normals = _corner_normals(quads)
    split = [[0, 1, 2], [0, 2, 3]]
    corners = quads[:, :, split].reshape(-1, 3, 3)
    edges = corners[:, 1:] - corners[:, :1]
    solid = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1) > 1e-9
    return Part(corners[solid], normals[:, :, split].reshape(-1, 3, 3)[solid], material)


def _corner_normals(quads: Array) -> Array:
    """Normals (N, M, 4, 3) of quad corners, averaged over neighbors within the crease angle."""
    faces = np.cross(quads[:, :, 2] - quads[:, :, 0], quads[:, :, 3] - quads[:, :, 1])
    padded = np.pad(faces, ((1, 1), (0, 0), (0, 0)))
    own = normalized(faces)
    corners = []
    for down, across in ((0, 0), (1, 0), (1, 1), (0, 1)):
        total = np.zeros_like(faces)
        for row in (down, down + 1):
            for shift in (1 - across, -across):
                near = np.roll(padded[row : row + len(faces)], shift, axis=1)
                alike = (normalized(near) * own).sum(-1, keepdims=True) > CREASE_COSINE
                total += np.where(alike, near, 0)
        corners.append(normalized(total))
    return np.stack(corners, axis=2)


def capped(rings: ArrayLike) -> Array:
    """Rings (N, M, 3) with both ends closed by a ring shrunk to a point."""
    points = np.asarray(rings, np.float32)
    ends = [np.broadcast_to(ring.mean(0), ring.shape) for ring in (points[0], points[-1])]
    return np.concatenate([ends[0][None], points, ends[1][None]])


def rounded_rectangle(height: float, width: float, bevel: float) -> Array:
    """Outline (16, 2) of a rectangle about the origin, (horizontal, vertical) coordinates."""
    angles = (np.arange(16) // 4 * 90 + np.arange(16) % 4 * 30) * np.pi / 180
    quarter = np.arange(16) // 4
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])[quarter]
    core = signs * (np.array([width, height]) / 2 - bevel)
    return (core + bevel * np.stack([np.cos(angles), np.sin(angles)], 1)).astype(np.float32)


def box(low: ArrayLike, high: ArrayLike, material: Material, bevel: float = 0.04) -> Part:
    """Axis-aligned box with rounded edges between two opposite corners (3,)."""
    start, end = np.asarray(low, np.float32), np.asarray(high, np.float32)
    size, middle = end - start, (start + end) / 2
    stations = [start[0], start[0] + bevel, end[0] - bevel, end[0]]
    rings = []
    for station, inset in zip(stations, (bevel, 0, 0, bevel), strict=True):
        outline = rounded_rectangle(size[2] - 2 * inset, size[1] - 2 * inset, max(bevel, 1e-3) / 2)
        rings.append(np.column_stack([np.full(16, station), outline + middle[1:]]))
    return loft(capped(rings), material)


def prism(outline: ArrayLike, half_width: float, material: Material, bevel: float = 0.05) -> Part:
    """Side outline (M, 2) in x and z, extruded across y with slightly drawn-in sides."""
    points = np.asarray(outline, np.float32)
    small = points + normalized(points.mean(0) - points) * bevel
    rings = []
    for side, ring in ((-1, small), (-1 + bevel, points), (1 - bevel, points), (1, small)):
        across = np.full(len(ring), side * half_width)
        rings.append(np.column_stack([ring[:, 0], across, ring[:, 1]]))
    return loft(capped(rings), material)


def turned(
    profile: ArrayLike, material: Material, *, axis: int = 0, count: int = 32, squash: float = 1.0
) -> Part:
    """Body of revolution.

    Args:
        profile: (N, 2), position along the axis and radius.
        material: material of the body.
        axis: 0, 1 or 2 for x, y or z.
        count: points around.
        squash: height over width of the section.
    """
    angles = np.arange(count) * 2 * np.pi / count
    circle = np.stack([np.zeros(count), np.cos(angles), np.sin(angles) * squash], 1)
    rings = [circle * radius + [along, 0, 0] for along, radius in np.asarray(profile, np.float32)]
    return loft(np.roll(np.asarray(rings), axis, axis=-1), material)


def beam(
    start: ArrayLike, end: ArrayLike, radius: float, material: Material, *, taper: float = 1.0
) -> Part:
    """Round bar between two points (3,), `taper` times as thick at its end."""
    ends = np.asarray([start, end], np.float32)
    along = normalized(ends[1] - ends[0])
    side = normalized(np.cross(along, [0, 0, 1] if abs(along[2]) < 0.9 else [1, 0, 0]))
    angles = np.arange(8)[:, None] * np.pi / 4
    circle = radius * (np.cos(angles) * side + np.sin(angles) * np.cross(along, side))
    return loft(capped([circle + ends[0], circle * taper + ends[1]]), material)


def wing(sections: Sequence[tuple[ArrayLike, float, float]], up: ArrayLike, skin: Material) -> Part:
    """Lifting surface through aerofoil sections.

    Args:
        sections: leading edge (3,), chord and thickness of each section, root first.
        up: direction (3,) of the section's thickness.
        skin: material of the surface.
    """
    share = (1 - np.cos(np.linspace(0, np.pi, 13))) / 2
    fullness = np.polynomial.Polynomial([0, -1.26, -3.516, 2.843, -1.036])
    half = 2.97 * np.sqrt(share) + fullness(share)
    chordwise = np.concatenate([share, share[-2:0:-1]])
    thick = np.concatenate([half, -0.7 * half[-2:0:-1]])
    rings = []
    for leading, chord, thickness in sections:
        ring = np.asarray(leading, np.float32) - np.outer(chordwise, [chord, 0, 0])
        rings.append(ring + np.outer(thick * thickness / 2, normalized(up)))
    return loft(capped(rings), skin)
