"""Draw results on images."""

import unicodedata
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgevit.core.tasks.palette import default_palette
from edgevit.core.tasks.results import Classification, Detections, Result, Segmentation
from edgevit.core.tasks.rle import RLE
from edgevit.errors import InputError

Image = NDArray[np.uint8]
Color = tuple[int, int, int]

FONT = cv2.FONT_HERSHEY_SIMPLEX
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
BAR = (196, 140, 40)  # BGR
FONT_HEIGHT = 22  # pixels of a capital letter in FONT at scale 1
MASK_SHARE = 0.45  # of an object's color in a pixel of its mask
MAP_SHARE = 0.5  # of a class's color in a pixel of a class map
LEGEND_ROWS = 12
LEGEND_SHARE = 0.4  # of the image's height that a legend of many rows takes


def draw(image: Image, result: Result) -> Image:
    """Draw a result.

    Args:
        image: uint8 (H, W, 3), BGR.
        result: what a Predictor answered for it.

    Returns:
        A copy of the image. A Classification is drawn as bars of its scores in the lower left;
        Detections as boxes with names and scores, over their masks where they have some; a
        Segmentation as its palette's colors over the image, with a legend of what is there.

    Raises:
        InputError: if `image` is not uint8 with three channels, or masks or a class map are of
            another image's size.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            f"draw takes uint8 (H, W, 3), not {image.dtype} {image.shape}; "
            "load other images with edgevit.load_image"
        )
    canvas = np.ascontiguousarray(image).copy()
    PAINTERS[type(result)](canvas, result)
    return canvas


def _draw_classes(canvas: Image, result: Classification) -> None:
    line, width = _line_height(canvas), canvas.shape[1]
    rows = min(len(result), canvas.shape[0] // line)
    for row in range(rows):
        dark = max(width // 2, min(width, 12 * line))
        strip = _strip(canvas, row, rows, line=line, width=dark)
        filled = round(float(result.scores[row]) * strip.shape[1])
        strip[line // 8 : line - line // 8, :filled] = BAR
        _write(strip, f"{result.class_names[row]} {result.scores[row]:.0%}", line // 4)


def _draw_detections(canvas: Image, result: Detections) -> None:
    """Masks first, then boxes, and the labels last; the best on top."""
    palette = default_palette(int(result.class_ids.max(initial=-1)) + 1)
    colors = [_color(palette[index]) for index in result.class_ids]
    order = range(len(result) - 1, -1, -1)
    for index in order:
        if result.masks is not None:
            _tint(canvas, result.masks[index], result.boxes[index], colors[index])
    thickness = max(1, _line_height(canvas) // 10)
    for index in order:
        x0, y0, x1, y1 = _pixels(result.boxes[index])
        cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), colors[index], thickness)
    for index in order:
        text = f"{result.class_names[index]} {result.scores[index]:.0%}"
        _label(canvas, text, result.boxes[index], colors[index])


def _draw_map(canvas: Image, result: Segmentation) -> None:
    _require_size(canvas, result.class_map.shape, "class map")
    table = np.zeros((result.unseen + 1, 3), np.uint8)
    table[: len(result.palette)] = result.palette
    is_unseen = result.class_map == result.unseen
    tinted = cv2.addWeighted(canvas, 1 - MAP_SHARE, table[result.class_map], MAP_SHARE, 0)
    tinted[is_unseen] = canvas[is_unseen]
    canvas[:] = tinted
    _draw_legend(canvas, result)


def _draw_legend(canvas: Image, result: Segmentation) -> None:
    """Name the classes that are there, the largest first, in lines as long as the longest text."""
    counts = result.pixels_per_class()
    ids = np.argsort(-counts, kind="stable")[: min(LEGEND_ROWS, np.count_nonzero(counts))]
    height = canvas.shape[0]
    line = max(12, min(_line_height(canvas), int(LEGEND_SHARE * height) // max(len(ids), 1)))
    rows = min(len(ids), height // line)
    texts = [f"{result.class_names[i]} {counts[i] / result.class_map.size:.0%}" for i in ids[:rows]]
    width = max((_text_width(text, line) for text in texts), default=0) + 3 * line // 2
    for row, text in enumerate(texts):
        strip = _strip(canvas, row, rows, line=line, width=width)
        strip[line // 6 : line - line // 6, line // 6 : line] = result.palette[ids[row]]
        _write(strip, text, line + line // 4)


# A painter takes the canvas and its own type of result.
PAINTERS: dict[type, Callable[[Image, Any], None]] = {
    Classification: _draw_classes,
    Detections: _draw_detections,
    Segmentation: _draw_map,
}


def _line_height(canvas: Image) -> int:
    height, width, _ = canvas.shape
    return max(12, min(int(height), int(width)) // 16)


def _strip(canvas: Image, row: int, rows: int, *, line: int, width: int) -> Image:
    """Darken the strip of a row in the lower left, and answer it as a view."""
    top = canvas.shape[0] - (rows - row) * line
    strip: Image = canvas[top : top + line, :width]
    strip //= 3
    return strip


def _font(line: int) -> tuple[float, int]:
    """Scale and thickness of text in a line so high."""
    return 0.5 * line / FONT_HEIGHT, max(1, line // 20)


def _text_width(text: str, line: int) -> int:
    (width, _), _ = cv2.getTextSize(_ascii(text), FONT, *_font(line))
    return int(width)


def _write(strip: Image, text: str, left: int, color: Color = WHITE) -> None:
    line = len(strip)
    baseline = (left, round(0.7 * line))
    scale, thickness = _font(line)
    cv2.putText(strip, _ascii(text), baseline, FONT, scale, color, thickness, cv2.LINE_AA)


def _label(canvas: Image, text: str, box: NDArray[np.float32], color: Color) -> None:
    """Write on a patch of the color that stands on the box, or in it at the upper edge."""
    line = max(12, _line_height(canvas) * 2 // 3)
    width = _text_width(text, line)
    x0, y0, _, _ = _pixels(box)
    left = max(0, min(x0, canvas.shape[1] - width - line // 2))
    top = y0 - line if y0 >= line else y0
    patch = canvas[top : top + line, left : left + width + line // 2]
    patch[:] = color
    if len(patch) == line:
        is_bright = np.dot(color, (0.114, 0.587, 0.299)) > 140
        _write(patch, text, line // 4, BLACK if is_bright else WHITE)


def _tint(
    canvas: Image, mask: NDArray[np.bool_] | RLE, box: NDArray[np.float32], color: Color
) -> None:
    pasted = mask.to_mask() if isinstance(mask, RLE) else mask
    _require_size(canvas, pasted.shape, "mask")
    x0, y0, x1, y1 = _pixels(box)
    inside, part = pasted[y0:y1, x0:x1], canvas[y0:y1, x0:x1]
    part[inside] = part[inside] * (1 - MASK_SHARE) + np.array(color) * MASK_SHARE


def _pixels(box: NDArray[np.float32]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = box.tolist()
    return int(x0), int(y0), max(int(x0) + 1, round(x1)), max(int(y0) + 1, round(y1))


def _color(row: NDArray[np.uint8]) -> Color:
    blue, green, red = row.tolist()
    return blue, green, red


def _require_size(canvas: Image, size: tuple[int, ...], what: str) -> None:
    if size != canvas.shape[:2]:
        raise InputError(
            f"the {what} is of size {size}, the image {canvas.shape[:2]}; draw on its own image"
        )


def _ascii(text: str) -> str:
    """OpenCV's stroke fonts have ASCII only: drop accents, show the rest as question marks."""
    plain = unicodedata.normalize("NFKD", text)
    letters = (letter for letter in plain if not unicodedata.combining(letter))
    return "".join(letter if letter.isascii() else "?" for letter in letters)
