"""Small masks of single objects to masks over the source image.

A mask's values are spread over its box, interpolated linearly between the centres of its cells and
fading to 0 beyond the outermost ones, and compared with a threshold at the centre of each pixel.
Interpolation is separable, so it is two small matrix products, exact to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgevit.core.rle import RLE

Size = tuple[int, int]


def masks_as_bool(
    masks: NDArray[np.float32], boxes: NDArray[np.float32], size: Size, threshold: float
) -> NDArray[np.bool_]:
    """Paste masks over an image.

    Args:
        masks: float32 (K, m, n), 0-1, each spread over its box.
        boxes: float32 (K, 4), xyxy in pixels of the image; may reach beyond it.
        size: the image's (height, width).
        threshold: a pixel with this value or more is the object's.

    Returns:
        bool (K, height, width).

    Source:
        mmdet `_do_paste_mask`, for the pixels whose centre lies in the box.
    """
    pasted = np.zeros((len(masks), *size), bool)
    for whole, (top, left, columns) in zip(pasted, _pasted(masks, boxes, size), strict=True):
        width, height = columns.shape
        whole[top : top + height, left : left + width] = np.greater_equal(columns.T, threshold)
    return pasted


def masks_as_rle(
    masks: NDArray[np.float32], boxes: NDArray[np.float32], size: Size, threshold: float
) -> tuple[RLE, ...]:
    """Paste masks over an image as run lengths, without ever holding the image's size in memory.

    Takes what `masks_as_bool` takes and encodes exactly what it gives.
    """
    return tuple(
        _encode(columns, top, left, size, threshold)
        for top, left, columns in _pasted(masks, boxes, size)
    )


def _pasted(
    masks: NDArray[np.float32], boxes: NDArray[np.float32], size: Size
) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Yield for each mask (top, left, values by column): the part that lies in the image."""
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.tolist(), strict=True):
        top, rows = _interpolation(y0, y1, mask.shape[0], size[0])
        left, columns = _interpolation(x0, x1, mask.shape[1], size[1])
        yield top, left, columns @ mask.T @ rows.T


def _interpolation(
    low: float, high: float, cells: int, pixels: int
) -> tuple[int, NDArray[np.float32]]:
    """Weights of a mask's cells at the pixels whose centre lies in its box, along one axis.

    Returns:
        The first such pixel, and float32 (pixels there, cells).
    """
    first = max(0, int(np.ceil(low - 0.5)))
    after = min(pixels, int(np.floor(high - 0.5)) + 1)
    centres = np.arange(first, max(first, after), dtype=np.float64) + 0.5
    positions = (centres - low) * (cells / max(high - low, 1e-9)) - 0.5
    distances = positions.astype(np.float32)[:, None] - np.arange(cells, dtype=np.float32)
    np.abs(distances, out=distances)
    np.subtract(1, distances, out=distances)
    return first, np.maximum(distances, 0, out=distances)


def _encode(columns: NDArray[np.float32], top: int, left: int, size: Size, threshold: float) -> RLE:
    width, height = columns.shape
    # A pixel of background before all and after each column makes every run end in its column.
    padded = np.zeros(1 + width * (height + 1), bool)
    inside = padded[1:].reshape(width, height + 1)[:, :height]
    np.greater_equal(columns, threshold, out=inside)
    column, row = np.divmod(np.flatnonzero(padded[1:] != padded[:-1]), height + 1)
    edges = (left + column) * size[0] + top + row
    if height == size[0]:  # where a column's end is the next one's start
        is_seam = edges[1:-1:2] == edges[2::2]
        edges = np.delete(edges, np.flatnonzero(np.repeat(is_seam, 2)) + 1)
    return RLE.from_edges(edges, size)
