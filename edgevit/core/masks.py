"""Small masks of single objects to masks over the source image.

A mask's values are spread over its box, interpolated linearly between the centres of its cells and
fading to 0 beyond the outermost ones, and compared with a threshold at the centre of each pixel.
Interpolation is separable, so it is two small matrix products, exact to rounding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgevit.core.rle import RLE

Size = tuple[int, int]

# Multiplications in one product. BLAS spreads larger ones over threads, and waits for them longer
# than it computes wherever the processors are busy, as they are right after an inference.
SMALL_PRODUCT = 1 << 18


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
    for whole, mask, box in zip(pasted, masks, boxes, strict=True):
        top, left, columns = _cover(mask, box, size, threshold)
        width, height = columns.shape
        whole[top : top + height - 1, left : left + width] = columns[:, :-1].T
    return pasted


def masks_as_rle(
    masks: NDArray[np.float32], boxes: NDArray[np.float32], size: Size, threshold: float
) -> tuple[RLE, ...]:
    """Paste masks over an image as run lengths, without ever holding the image's size in memory.

    Takes what `masks_as_bool` takes and encodes exactly what it gives.
    """
    return tuple(
        _encode(*_cover(mask, box, size, threshold), size)
        for mask, box in zip(masks, boxes, strict=True)
    )


def _cover(
    mask: NDArray[np.float32], box: NDArray[np.float32], size: Size, threshold: float
) -> tuple[int, int, NDArray[np.bool_]]:
    """The object's pixels where a box lies in the image.

    Returns:
        The first row and the first column, and bool (columns, rows + 1): the last of each column is
        False.
    """
    x0, y0, x1, y1 = box.tolist()
    top, rows = _interpolation(y0, y1, mask.shape[0], size[0])
    left, columns = _interpolation(x0, x1, mask.shape[1], size[1])
    covered = np.zeros((len(columns), len(rows) + 1), bool)
    step = max(1, min(len(columns), SMALL_PRODUCT // max(1, rows.size, mask.size)))
    blocks = np.zeros((-(-len(columns) // step), step, mask.shape[1]), np.float32)
    blocks.reshape(-1, mask.shape[1])[: len(columns)] = columns
    values = (blocks @ mask.T @ rows.T).reshape(len(blocks) * step, len(rows))[: len(columns)]
    np.greater_equal(values, threshold, out=covered[:, :-1])
    return top, left, covered


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


def _encode(top: int, left: int, covered: NDArray[np.bool_], size: Size) -> RLE:
    """Encode what `_cover` answers; the False after each column ends every run in its column."""
    flat = covered.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[:1].any():
        changes = np.concatenate([[0], changes])
    column, row = np.divmod(changes, covered.shape[1])
    edges = (left + column) * size[0] + top + row
    if covered.shape[1] == size[0] + 1:  # where a column's end is the next one's start
        is_seam = edges[1:-1:2] == edges[2::2]
        edges = np.delete(edges, np.flatnonzero(np.repeat(is_seam, 2)) + 1)
    return RLE.from_edges(edges, size)
