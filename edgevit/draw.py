"""Draw results on images."""

from __future__ import annotations

import unicodedata

import cv2
import numpy as np
from numpy.typing import NDArray

from edgevit.core.errors import InputError
from edgevit.core.results import Classification

FONT = cv2.FONT_HERSHEY_SIMPLEX
WHITE = (255, 255, 255)
BAR = (196, 140, 40)  # BGR
FONT_HEIGHT = 22  # pixels of a capital letter in FONT at scale 1


def draw(image: NDArray[np.uint8], result: Classification) -> NDArray[np.uint8]:
    """Draw a result.

    Args:
        image: uint8 (H, W, 3), BGR.
        result: what a Predictor answered for it.

    Returns:
        A copy of the image with the classes and their scores as bars in its lower left.

    Raises:
        InputError: if `image` is not uint8 with three channels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            f"draw takes uint8 (H, W, 3), not {image.dtype} {image.shape}; "
            "load other images with edgevit.load_image"
        )
    canvas = np.ascontiguousarray(image).copy()
    rows = _visible_rows(canvas, result)
    for row in range(rows):
        _draw_row(canvas, result, row, rows)
    return canvas


def _line_height(canvas: NDArray[np.uint8]) -> int:
    height, width, _ = canvas.shape
    return max(12, min(int(height), int(width)) // 16)


def _visible_rows(canvas: NDArray[np.uint8], result: Classification) -> int:
    return min(len(result), int(canvas.shape[0]) // _line_height(canvas))


def _draw_row(canvas: NDArray[np.uint8], result: Classification, row: int, rows: int) -> None:
    """Darken a strip, lay the score's bar on it, write name and score over both."""
    height, width, _ = canvas.shape
    line = _line_height(canvas)
    top = height - (rows - row) * line
    strip = canvas[top : top + line, : max(width // 2, min(width, 12 * line))]
    strip //= 3
    filled = round(float(result.scores[row]) * strip.shape[1])
    strip[line // 8 : line - line // 8, :filled] = BAR
    text = f"{_ascii(result.class_names[row])} {result.scores[row]:.0%}"
    scale = 0.5 * line / FONT_HEIGHT
    baseline = (line // 4, top + round(0.7 * line))
    cv2.putText(canvas, text, baseline, FONT, scale, WHITE, max(1, line // 20), cv2.LINE_AA)


def _ascii(text: str) -> str:
    """OpenCV's stroke fonts have ASCII only: drop accents, show the rest as question marks."""
    plain = unicodedata.normalize("NFKD", text)
    letters = (letter for letter in plain if not unicodedata.combining(letter))
    return "".join(letter if letter.isascii() else "?" for letter in letters)
