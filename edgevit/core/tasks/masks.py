"""Small masks of single objects to masks over the source image.

A mask's values are spread over its box, interpolated linearly between the centers of its cells and
fading to 0 beyond the outermost ones, and compared with a threshold at the center of each pixel.

Down a column of pixels the values are straight lines from cell to cell, so an object begins and
ends where a line crosses the threshold: that is computed, and no value at a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevit.core.tasks.rle import RLE, rles_from_edges

Size = tuple[int, int]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

COLUMNS_AT_ONCE = 8192  # their values stay in a processor's cache
SEPARATION = 1 << 40  # of the places of two masks, more than an image has pixels


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """The pixels whose centers lie in intervals, along one axis of an image.

    Args:
        low: float64 (K,), where the intervals begin.
        pitch: float64 (K,), pixels for a cell.
        first: int64 (K,), the first pixel.
        after: int64 (K,), the one after the last; `first` where there is none.
    """

    low: Floats
    pitch: Floats
    first: Indices
    after: Indices

    @property
    def counts(self) -> Indices:
        """Number of pixels, int64 (K,)."""
        return self.after - self.first

    def __getitem__(self, chosen: slice) -> Spans:
        return Spans(self.low[chosen], self.pitch[chosen], self.first[chosen], self.after[chosen])


def masks_as_bool(
    masks: NDArray[np.float32], boxes: NDArray[np.float32], size: Size, threshold: float
) -> NDArray[np.bool_]:
    """Paste masks over an image.

    Args:
        masks: float32 (K, m, n), 0-1, each spread over its box.
        boxes: float32 (K, 4), xyxy in pixels of the image; may reach beyond it.
        size: the image's (height, width).
        threshold: 0-1; a pixel with this value or more is the object's.

    Returns:
        bool (K, height, width).

    Source:
        mmdet `_do_paste_mask`, for the pixels whose center lies in the box.
    """
    pasted = np.zeros((len(masks), *size), bool)
    rows, columns = _spans_of(boxes, masks.shape[1:], size)
    origins = np.zeros(len(masks), np.int64)
    found = _edges(masks, rows, columns, threshold=threshold, origins=origins, strides=rows.counts)
    for index, edges in enumerate(found):
        height, width = rows.counts[index], columns.counts[index]
        runs = np.diff(edges, prepend=0, append=height * width)
        window = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
        top, left = rows.first[index], columns.first[index]
        pasted[index, top : top + height, left : left + width] = window
    return pasted


def masks_as_rle(
    masks: NDArray[np.float32], boxes: NDArray[np.float32], size: Size, threshold: float
) -> tuple[RLE, ...]:
    """Paste masks over an image as run lengths, without ever holding the image's size in memory.

    Takes what `masks_as_bool` takes and encodes exactly what it gives.
    """
    rows, columns = _spans_of(boxes, masks.shape[1:], size)
    origins = columns.first * size[0] + rows.first
    strides = np.full_like(origins, size[0])
    found = _edges(masks, rows, columns, threshold=threshold, origins=origins, strides=strides)
    return rles_from_edges(found, size)


def _spans_of(boxes: NDArray[np.float32], cells: Size, size: Size) -> tuple[Spans, Spans]:
    """Rows and columns of boxes over an image."""
    x0, y0, x1, y1 = boxes.astype(np.float64).T
    return _spans(y0, y1, cells[0], size[0]), _spans(x0, x1, cells[1], size[1])


def _spans(low: Floats, high: Floats, cells: int, pixels: int) -> Spans:
    first = np.clip(np.ceil(low - 0.5), 0, pixels).astype(np.int64)
    after = np.clip(np.floor(high - 0.5) + 1, 0, pixels).astype(np.int64)
    pitch = np.maximum(high - low, 1e-9) / cells
    return Spans(low, pitch, first, np.maximum(first, after))


def _edges(
    masks: NDArray[np.float32],
    rows: Spans,
    columns: Spans,
    *,
    threshold: float,
    origins: Indices,
    strides: Indices,
) -> list[Indices]:
    """Where, column by column, an object begins and, in turn, ends.

    Args:
        masks: float32 (K, m, n).
        rows: rows of their boxes.
        columns: columns of their boxes.
        threshold: 0-1.
        origins: int64 (K,), the place of each box's first pixel.
        strides: int64 (K,), places from a pixel to the one beside it in the next column.

    Returns:
        For each mask places, rising.
    """
    found = []
    ends = np.cumsum(columns.counts)
    start = 0
    while start < len(masks):
        limit = ends[start] - columns.counts[start] + COLUMNS_AT_ONCE
        end = max(start + 1, int(np.searchsorted(ends, limit, side="right")))
        part = slice(start, end)
        owner, column, row = _crossings(masks[part], rows[part], columns[part], threshold)
        places = column * strides[part][owner] + row
        found += _without_empty_runs(places, owner, origins[part])
        start = end
    return found


def _crossings(
    masks: NDArray[np.float32], rows: Spans, columns: Spans, threshold: float
) -> tuple[Indices, Indices, Indices]:
    """Where objects begin and, in turn, end, in the order of masks, columns and rows.

    Returns:
        Masks, columns and rows, int64 (E,) each, the latter two counted from the box's first.
    """
    owner = np.repeat(np.arange(len(masks)), columns.counts)
    starts = np.cumsum(columns.counts) - columns.counts
    column = np.arange(len(owner)) - starts[owner]
    values = _profiles(masks, columns, owner, column)
    is_inside = values >= threshold
    # With a threshold of 0 the zeros around a mask would be inside, and crossings not be in pairs.
    is_inside[:, 0] = is_inside[:, -1] = False
    knots = values.shape[1]
    line, knot = np.divmod(np.flatnonzero(is_inside[:, 1:] != is_inside[:, :-1]), knots - 1)
    low, high = (values.reshape(-1)[line * knots + knot + step] for step in (0, 1))
    rise = np.subtract(high, low, dtype=np.float64)
    share = np.divide(threshold - low, rise, out=np.zeros_like(rise), where=rise != 0)
    owner, column = owner[line], column[line]
    at = (
        (knot - 0.5 + share) * rows.pitch[owner] + rows.low[owner] - 0.5
    )  # 0: the first row's center
    row = np.ceil(at)  # as every column begins and ends outside, every other crossing is an end
    row[1::2] = np.floor(at[1::2]) + 1
    row = np.clip(row.astype(np.int64), rows.first[owner], rows.after[owner])
    return owner, column, row - rows.first[owner]


def _profiles(
    masks: NDArray[np.float32], columns: Spans, owner: Indices, column: Indices
) -> NDArray[np.float32]:
    """Values at the cells' heights down columns of pixels, float32 (C, m + 2), 0 at both ends."""
    padded = np.pad(masks.transpose(0, 2, 1), ((0, 0), (1, 1), (1, 1)))
    cells = padded.reshape(-1, padded.shape[2])  # (K * (n + 2), m + 2)
    center = columns.first[owner] + column + 0.5 - columns.low[owner]
    position = center / columns.pitch[owner] + 0.5  # 0.5: where the first cell begins
    left = np.floor(position).astype(np.int64)
    share = (position - left).astype(np.float32)[:, None]
    index = owner * padded.shape[1] + left
    values: NDArray[np.float32] = cells[index]
    # There are mostly fewer cells than columns of pixels: subtract first, and then gather.
    values += (cells[1:] - cells[:-1])[index] * share
    return values


def _without_empty_runs(places: Indices, owner: Indices, origins: Indices) -> list[Indices]:
    """Split places by mask, and drop pairs at one place, where one run ends as the next begins."""
    # Rounding may let a run begin a pixel before the last one ends: the two become one.
    places = np.maximum.accumulate(places + owner * SEPARATION)
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    lengths = np.diff(starts, append=len(places))
    kept = places[starts[lengths % 2 == 1]]  # an even number of changes at a place is none
    limits = np.searchsorted(kept, np.arange(1, len(origins)) * SEPARATION)
    parts = np.split(kept, limits)
    moves = origins - np.arange(len(origins)) * SEPARATION
    return [part + move for part, move in zip(parts, moves.tolist(), strict=True)]
