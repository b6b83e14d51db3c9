"""Four playing cards on a wooden table, seen from above."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from card_faces import CORNER, HEIGHT, PIXELS_PER_CM, WIDTH, draw_face
from lighting import Light, Sky, irradiance, shade, sun_lights
from meshes import Array, Material, Part, Solid, assemble, capped, loft, normalized
from rasterizer import Camera, look
from surroundings import fractal, noise, smoothstep

ROOM = Sky(
    sun=(-0.55, 0.62, 0.62),
    sunlight=(1.05, 1.00, 0.92),
    zenith=(0.26, 0.25, 0.23),
    horizon=(0.20, 0.18, 0.155),
    ground=(0.10, 0.07, 0.05),
    glow=(0.55, 0.54, 0.52),
)
"""A dim room with a window to the upper left."""
WINDOW = (0.12, 0.25, 0.40, 0.55)
"""Angular radii (radians) of the rings of lights that stand for the window."""
CEILING = (0.7, 1.0, 1.25)
"""The same for the ceiling."""
THICKNESS = 0.03
BOW = 0.16
"""How much higher the middle of a card lies than its short edges, which rest on the table."""
PLANK, PLANK_EDGE = 11.5, 4.4
REMAP_LIMIT = 30_000  # OpenCV's remap takes fewer than 32768 rows


@dataclass(frozen=True)
class Card:
    """A card on the table; lengths are centimetres.

    Attributes:
        rank: see `card_faces.RANKS`.
        suit: see `card_faces.SUITS`.
        x, y: middle of the card.
        turn: degrees, counter-clockwise.
        lift: height of its edges above the table.
        slant: degrees by which its right side is higher than its left.
    """

    rank: str
    suit: str
    x: float
    y: float
    turn: float
    lift: float = 0.0
    slant: float = 0.0

    @property
    def axes(self) -> Array:
        """Rows: directions (2, 3) of the card's right and top side in the room."""
        turn, slant = np.radians([self.turn, self.slant])
        right = [np.cos(turn) * np.cos(slant), np.sin(turn) * np.cos(slant), np.sin(slant)]
        return np.array([right, [-np.sin(turn), np.cos(turn), 0]], np.float32)


CARDS = (
    Card("ten", "clubs", 2.6, 3.7, -21.0),
    Card("ace", "hearts", -2.3, 2.9, 8.0, lift=0.20, slant=1.0),
    Card("nine", "diamonds", -8.7, -2.6, 24.0),
    Card("ten", "hearts", 8.1, -4.2, 78.0),
)


def _sheet() -> tuple[Array, Array, Array]:
    """Rings (N, M) of a card: coordinates x and y, and 1 on the face, 0 on the back."""
    edge = CORNER * (1 - np.cos(np.linspace(0, np.pi / 2, 9)))
    left = np.concatenate([edge, np.linspace(CORNER, WIDTH / 2, 12)[1:]]) - WIDTH / 2
    x = np.concatenate([left, -left[-2::-1]])
    cut = np.maximum(np.abs(x) - (WIDTH / 2 - CORNER), 0)
    reach = HEIGHT / 2 - CORNER + np.sqrt(np.maximum(CORNER**2 - cut**2, 1e-6))
    share = np.linspace(-1, 1, 25)
    y = np.concatenate([np.outer(reach, share), np.outer(reach, -share)], 1)
    side = np.repeat([1.0, 0.0], len(share))
    return np.broadcast_to(x[:, None], y.shape), y, np.broadcast_to(side, y.shape)


def _card(card: Card) -> Part:
    """The card as a slightly bowed sheet."""
    x, y, side = _sheet()
    height = card.lift + BOW * (1 - (2 * y / HEIGHT) ** 2) + THICKNESS * side
    right, top = card.axes
    rings = x[..., None] * right + y[..., None] * top
    rings = rings + np.array([card.x, card.y, 0]) + height[..., None] * np.array([0, 0, 1])
    face = draw_face(card.rank, card.suit)

    def paint(position: Array) -> Array:
        return _sampled(face, (position - np.array([card.x, card.y, 0], np.float32)) @ card.axes.T)

    return loft(capped(rings), Material(reflectance=0.04, gloss=0.45, paint=paint))


def _sampled(face: Array, local: Array) -> Array:
    """Albedo (P, 3) of a face (H, W, 3) at card coordinates (P, 2), y up."""
    height, width = face.shape[:2]
    soft = cv2.GaussianBlur(face, (0, 0), 2.2)
    column = local[:, 0] * PIXELS_PER_CM + width / 2 - 0.5
    row = height / 2 - local[:, 1] * PIXELS_PER_CM - 0.5
    maps = [values.astype(np.float32).reshape(-1, 1) for values in (column, row)]
    parts = []
    for start in range(0, len(column), REMAP_LIMIT):
        part = slice(start, start + REMAP_LIMIT)
        parts.append(cv2.remap(soft, maps[0][part], maps[1][part], cv2.INTER_LINEAR))
    return np.concatenate(parts)[:, 0]


def _wood(points: Array) -> Array:
    """Albedo (P, 3) of oak planks along x, with rings, pores and seams."""
    x, y = points[:, 0], points[:, 1]
    place = (y + PLANK_EDGE) / PLANK
    plank = np.floor(place)
    along, across = x + 37 * plank, y + 0.4 * np.sin(x * 0.07 + plank)
    bend = 7.0 * (fractal(along * 0.028, across * 0.075, 3, 11) - 0.5)
    rings = across * 0.75 + bend * 1.6 + 0.9 * fractal(along * 0.09, across * 1.1, 4, 12)
    grain = 0.5 + 0.5 * np.sin(rings * 2)
    fibre = fractal(along * 0.30, across * 8.0, 5, 13) - 0.5
    pores = smoothstep(0.54, 0.72, fractal(along * 0.38, across * 9.0, 3, 14) + 0.16 * grain)
    broad = fractal(along * 0.05, across * 0.22, 3, 15) - 0.5
    tone = np.clip(0.22 + 0.34 * grain**1.5 + 0.36 * fibre + 0.5 * broad, 0, 1)[:, None]
    dark, light = np.array((0.040, 0.016, 0.007)), np.array((0.34, 0.150, 0.055))
    color = (dark * (1 - tone) + light * tone) * (1 - 0.5 * pores)[:, None]
    color *= (0.8 + 0.4 * noise(plank * 3.7, 0, 16))[:, None]
    seam = np.abs(place - np.rint(place)) * PLANK
    return (color * (0.2 + 0.8 * smoothstep(0.02, 0.08, seam))[:, None]).astype(np.float32)


def _table(camera: Camera, lights: list[Light]) -> Array:
    """Light (H, W, 3) of the bare table with the shadows of the cards."""
    rays = camera.rays().reshape(-1, 3)
    points = np.asarray(camera.eye, np.float32) - rays * (camera.eye[2] / rays[:, 2:])
    normals = np.zeros_like(points)
    normals[:, 2] = 1
    relief = fractal(points[:, 0] * 0.5, points[:, 1] * 8.0, 3, 13) - 0.5
    bounce = normalized(rays * [1, 1, -1] + relief[:, None] * [0.02, 0.22, 0])
    fresnel = 0.035 + 0.965 * (1 + rays[:, 2:]) ** 5
    light = _wood(points) * irradiance(lights, points, normals)
    light += fresnel * ROOM.radiance(bounce) * 0.7
    return light.reshape(*camera.size, 3)


def _window(solid: Solid) -> list[Light]:
    """Lights of the window and, weaker and wider, of the room."""
    red, green, blue = ROOM.sunlight
    share = len(WINDOW)
    pane = replace(ROOM, sunlight=(red / share, green / share, blue / share))
    ceiling = replace(ROOM, sun=(0.0, 0.1, 1.0), sunlight=(0.115, 0.11, 0.10))
    lights = []
    for sky, rings in ((pane, WINDOW), (ceiling, CEILING)):
        for radius in rings:
            lights += sun_lights(solid, sky, spread=radius)
    return lights


def _falloff(size: tuple[int, int]) -> Array:
    """How the window's light fades (H, W, 1) towards the lower right."""
    down, right = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j].astype(np.float32)
    return (1 + 0.16 * right + 0.13 * down)[..., None] ** -1.7


def render(size: tuple[int, int]) -> Array:
    """Linear RGB (H, W, 3) of the scene at `size` (height, width)."""
    camera = Camera((-0.2, -17.5, 46.0), (-0.2, -0.3, 0.0), 25.0, size)
    solid = assemble([_card(card) for card in CARDS])
    lights = _window(solid)
    light = _table(camera, lights)
    surface = look(solid, camera)
    light[surface.mask] = shade(surface, solid, ROOM, (lights, []))
    return light * _falloff(size)
