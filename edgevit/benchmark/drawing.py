"""Lines, marks and texts that become an SVG or a PNG: all that a plot needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.sax.saxutils import escape

import cv2
import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]

FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_HEIGHT = 21.0  # pixels of a capital letter in FONT at scale 1
CAPITAL = 0.7  # of a font's size
WIDTH = 0.56  # of a font's size: an average character
SUBPIXELS = 4  # bits of OpenCV's fixed-point coordinates
SCALE = 2  # pixels of a PNG for one of the drawing
ANCHORS = {"start": 0.0, "middle": 0.5, "end": 1.0}

# Corners around (0, 0) of the marks that are not a circle.
CORNERS = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "triangle": ((0.0, -1.15), (1.1, 0.85), (-1.1, 0.85)),
    "diamond": ((0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)),
}
CIRCLE = "circle"


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points, `#rrggbb`, `width` pixels wide."""

    points: tuple[Point, ...]
    color: str
    width: float

    def svg(self) -> str:
        """SVG of a `polyline` element, in pixels of the drawing."""
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)
        return (
            f'<polyline points="{points}" fill="none" stroke="{self.color}" '
            f'stroke-width="{self.width}"/>'
        )

    def paint(self, pixels: NDArray[np.uint8]) -> None:
        """Draw on uint8 (H, W, 3), BGR, of `SCALE` pixels for one of the drawing."""
        width = max(1, round(self.width * SCALE))
        points = [_fixed(self.points)]
        cv2.polylines(pixels, points, False, _bgr(self.color), width, cv2.LINE_AA, SUBPIXELS)


@dataclass(frozen=True, slots=True)
class Mark:
    """A filled circle, square, triangle or diamond of a radius."""

    center: Point
    shape: str
    radius: float
    color: str

    def svg(self) -> str:
        """SVG of a `circle` or a `polygon` element, in pixels of the drawing."""
        if self.shape == CIRCLE:
            x, y = self.center
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{self.radius}" fill="{self.color}"/>'
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in self._corners())
        return f'<polygon points="{points}" fill="{self.color}"/>'

    def paint(self, pixels: NDArray[np.uint8]) -> None:
        """Draw on uint8 (H, W, 3), BGR, of `SCALE` pixels for one of the drawing."""
        color = _bgr(self.color)
        if self.shape == CIRCLE:
            (center,) = _fixed((self.center,)).tolist()
            radius = round(self.radius * SCALE * (1 << SUBPIXELS))
            cv2.circle(pixels, center, radius, color, -1, cv2.LINE_AA, SUBPIXELS)
        else:
            cv2.fillPoly(pixels, [_fixed(self._corners())], color, cv2.LINE_AA, SUBPIXELS)

    def _corners(self) -> tuple[Point, ...]:
        x, y = self.center
        return tuple((x + dx * self.radius, y + dy * self.radius) for dx, dy in CORNERS[self.shape])


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text that starts, ends or has its middle at `place`, on its baseline."""

    place: Point
    text: str
    size: float = 12
    color: str = "#222222"
    anchor: str = "start"

    def svg(self) -> str:
        """SVG of a `text` element, in pixels of the drawing."""
        x, y = self.place
        return (
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{self.size}" fill="{self.color}" '
            f'text-anchor="{self.anchor}">{escape(self.text)}</text>'
        )

    def paint(self, pixels: NDArray[np.uint8]) -> None:
        """Draw on uint8 (H, W, 3), BGR, of `SCALE` pixels for one of the drawing."""
        scale = self.size * CAPITAL * SCALE / FONT_HEIGHT
        (width, _), _ = cv2.getTextSize(self.text, FONT, scale, SCALE)
        x = round(self.place[0] * SCALE - ANCHORS[self.anchor] * width)
        where = (x, round(self.place[1] * SCALE))
        cv2.putText(pixels, self.text, where, FONT, scale, _bgr(self.color), 1, cv2.LINE_AA)

    def width(self) -> float:
        """About how wide it is, in pixels of the drawing."""
        return WIDTH * self.size * len(self.text)


@dataclass(slots=True)
class Drawing:
    """What is to be drawn, in order, on white, `width` x `height` pixels."""

    width: int
    height: int
    items: list[Line | Mark | Text] = field(default_factory=list)

    def svg(self) -> str:
        """Write a whole SVG document, white beneath the items."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" font-family="sans-serif">'
        )
        ground = f'<rect width="{self.width}" height="{self.height}" fill="#ffffff"/>'
        return "\n".join([head, ground, *(item.svg() for item in self.items), "</svg>", ""])

    def png(self) -> bytes:
        """Paint as the bytes of a file, with twice as many pixels each way."""
        shape = (self.height * SCALE, self.width * SCALE, 3)
        pixels = np.full(shape, 255, np.uint8)
        for item in self.items:
            item.paint(pixels)
        return cv2.imencode(".png", pixels)[1].tobytes()


def _fixed(points: tuple[Point, ...]) -> NDArray[np.int32]:
    return np.round(np.array(points) * SCALE * (1 << SUBPIXELS)).astype(np.int32)


def _bgr(color: str) -> tuple[int, int, int]:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return blue, green, red
