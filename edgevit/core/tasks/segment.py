"""Segmenters: what a graph answers to a class map in source pixels.

What a graph must answer, for one image, by output name; with stride s and an input of H x W pixels
the map has ceil(H / s) x ceil(W / s) cells, and cell (row, column) covers the input's pixels from
(row * s, column * s) on:

- `MapHead("logits", s)`: `logits` float32 (1, C, h, w), a value for each class.
- `MapHead("classes", s)`: `classes`, any integer dtype, (1, h, w), the best class.

Classes go to the pixels whose centers lie in their cell. Logits are interpolated bilinearly (as
PyTorch does with `align_corners=False`) straight to the pixels of the source image, and the best
class is taken there. That is one value for each class and pixel, most of which change nothing:

1. Take the best class of every cell.
2. Call the area between the centers of four neighboring cells a square. A bilinear value is a
   weighted mean of its four corners, so that where one class is the best at all corners, it is
   the best in the whole square: its pixels get that class without any arithmetic.
3. In the other squares, drop each class whose largest corner is below the smallest corner of some
   other class: it cannot win anywhere in the square.
4. Interpolate the classes left, lower ids first, at the square's pixels and keep the largest. All
   squares are worked on together: each is given as many pixels as the largest one has, and those
   that are too many are its last pixel again.

`plain_logits` and `plain_classes` in `tests/core/tasks/test_segment.py` do the same pixel by pixel,
and the tests compare the two on random maps and geometries.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgevit.core.image.geometry import Geometry
from edgevit.core.model.heads import MapHead
from edgevit.core.model.spec import ModelSpec
from edgevit.core.runtime.protocols import AnyArray
from edgevit.core.tasks.palette import default_palette
from edgevit.core.tasks.results import Segmentation
from edgevit.core.tasks.signature import Output, floats
from edgevit.errors import InferenceError

ClassMap = NDArray[np.uint8] | NDArray[np.uint16]

RESULT = Segmentation

# Source pixels interpolated together; their values and classes stay in the processor's cache.
CHUNK_PIXELS = 1 << 17


@dataclass(frozen=True, slots=True, eq=False)
class MapAxis:
    """The source pixels along one axis that the network saw, and the cells around them.

    Gap g is what lies between the centers of the g-th and the next of `cells`.

    Args:
        start: the first of the pixels.
        nearest: int64 (P,), the cell that holds each pixel's center.
        cells: int64 (G + 1,), the cells needed; those beyond the map are its outermost again.
        gaps: int64 (P,), the gap that each pixel's center lies in.
        is_filled: bool (G,), whether any of the pixels lies in the gap.
        pixels: int64 (k, G), the pixels of each gap, from `start`; where fewer, the last again.
        weights: float32 (k, G), the next cell's share in the value of these pixels.
    """

    start: int
    nearest: NDArray[np.int64]
    cells: NDArray[np.int64]
    gaps: NDArray[np.int64]
    is_filled: NDArray[np.bool_]
    pixels: NDArray[np.int64]
    weights: NDArray[np.float32]


def graph_outputs(spec: ModelSpec, head: MapHead) -> tuple[Output, ...]:
    """Describe what a segmenter's graph must answer; see the module's text."""
    rows, columns = (-(-side // head.stride) for side in spec.input.size)
    if head.kind == "classes":
        return (Output("classes", "iu", "integer", (1, rows, columns)),)
    return (floats("logits", 1, len(spec.class_names), rows, columns),)


def parameters(spec: ModelSpec, head: MapHead) -> None:
    """Check what a caller wants; a segmenter leaves nothing to want."""


def graph_inputs(head: MapHead, wanted: None = None) -> dict[str, float]:
    """Say what the graph is told besides the image: nothing."""
    return {}


def read(
    outputs: Mapping[str, AnyArray],
    geometry: Geometry,
    *,
    spec: ModelSpec,
    head: MapHead,
    wanted: None,
) -> Segmentation:
    """Read a segmenter's output for one image.

    Args:
        outputs: what the graph answered, see the module's text.
        geometry: maps the network input to the source image.
        spec: names the classes.
        head: the spec's head.
        wanted: what `parameters` made.

    Returns:
        The result, without timings. Pixels that the network did not see, because the
        preprocessing cropped them off, have the value `Segmentation.unseen`.

    Raises:
        InferenceError: if a logit is not finite or a class is out of range.
    """
    names = spec.class_names
    class_map = READERS[head.kind](outputs[head.kind][0], geometry, head.stride, len(names))
    return Segmentation(class_map, names, default_palette(len(names)), {})


def class_map_from_classes(
    classes: NDArray[np.integer], geometry: Geometry, stride: int, count: int
) -> ClassMap:
    """Give every source pixel the class of the cell that it lies in.

    Args:
        classes: integers (h, w), class ids.
        geometry: maps the network input to the source image.
        stride: input pixels per cell.
        count: number of classes.

    Returns:
        uint8 (H, W), uint16 from 256 classes on, over the source image.

    Raises:
        InferenceError: if a class is out of range.
    """
    if classes.min() < 0 or classes.max() >= count:
        raise InferenceError(
            f"the model answered classes from {classes.min()} to {classes.max()}, but its spec "
            f"names {count}; export the model again"
        )
    rows, columns = _axes(geometry, stride, classes.shape)
    cells = _class_ids(classes, count)
    return _whole(_at(cells, rows.nearest, columns.nearest), rows, columns, geometry)


def class_map_from_logits(
    logits: NDArray[np.float32], geometry: Geometry, stride: int, count: int
) -> ClassMap:
    """Interpolate logits at every source pixel and take the best class there.

    Only squares between cells of different classes are interpolated, as the module's text explains.
    Equal values give the lower class id.

    Args:
        logits: float32 (C, h, w).
        geometry: maps the network input to the source image.
        stride: input pixels per cell.
        count: C, the number of classes.

    Returns:
        uint8 (H, W), uint16 from 256 classes on, over the source image.

    Raises:
        InferenceError: if a logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise InferenceError(
            "the model answered logits that are not finite; its weights or its input hold NaN or "
            "infinity. Run `edgevit doctor MODEL`"
        )
    rows, columns = _axes(geometry, stride, logits.shape[1:])
    cells = logits.take(rows.cells, axis=1).take(columns.cells, axis=2)
    best = _class_ids(_best_class(cells), count)
    seen = _at(best, rows.gaps, columns.gaps)
    corner = best[:-1, :-1]
    is_mixed = (best[1:, :-1] != corner) | (best[:-1, 1:] != corner) | (best[1:, 1:] != corner)
    is_mixed &= rows.is_filled[:, None] & columns.is_filled
    row, column = is_mixed.nonzero()
    step = max(1, CHUNK_PIXELS // max(1, len(rows.pixels) * len(columns.pixels)))
    for first in range(0, len(row), step):
        chunk = slice(first, first + step)
        _interpolate(seen, cells, row[chunk], column[chunk], rows=rows, columns=columns)
    return _whole(seen, rows, columns, geometry)


READERS: dict[str, Callable[..., ClassMap]] = {
    "classes": class_map_from_classes,
    "logits": class_map_from_logits,
}


def _class_ids(ids: NDArray[np.integer], count: int) -> ClassMap:
    """Class ids in the smallest dtype that has room for them and for `unseen`."""
    return ids.astype(np.uint8) if count <= np.iinfo(np.uint8).max else ids.astype(np.uint16)


def _at(cells: ClassMap, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> ClassMap:
    return cells.take(columns, axis=1).take(rows, axis=0)


def _whole(seen: ClassMap, rows: MapAxis, columns: MapAxis, geometry: Geometry) -> ClassMap:
    """Add the pixels that the network did not see."""
    if seen.shape == geometry.source_size:
        return seen
    whole = np.full(geometry.source_size, np.iinfo(seen.dtype).max, seen.dtype)
    height, width = seen.shape
    whole[rows.start : rows.start + height, columns.start : columns.start + width] = seen
    return whole


@lru_cache(maxsize=16)  # a camera repeats one geometry
def _axes(geometry: Geometry, stride: int, shape: tuple[int, int]) -> tuple[MapAxis, MapAxis]:
    """Lay out y and x for a map of `shape` (h, w) cells."""
    return _axis(geometry, 1, stride, shape[0]), _axis(geometry, 0, stride, shape[1])


def _axis(geometry: Geometry, which: int, stride: int, count: int) -> MapAxis:
    """Lay out x (`which` 0) or y (1) for a map of `count` cells."""
    low, high = geometry.source_box[which], geometry.source_box[which + 2]
    start = max(0, int(np.ceil(low - 0.5)))
    end = min(geometry.source_size[1 - which], int(np.floor(high - 0.5)) + 1)
    centers = np.zeros((max(0, end - start), 2))
    centers[:, which] = np.arange(start, max(start, end)) + 0.5
    positions = geometry.points_to_input(centers)[:, which] / stride  # in cells from the map's edge
    nearest = np.clip(positions.astype(np.int64), 0, count - 1)
    gaps = np.clip(np.floor(positions + 0.5).astype(np.int64), 0, count)
    first, last = (int(gaps[0]), int(gaps[-1])) if len(gaps) else (0, 0)
    # Gap g lies between cells g - 1 and g of the map. Gaps 0 and `count` lie beyond the outermost
    # centers; there, both cells are the outermost one, so that its value goes on unchanged.
    cells = np.clip(np.arange(first - 1, last + 1), 0, count - 1)
    starts, ends = (
        np.searchsorted(gaps, np.arange(first, last + 1), side) for side in ("left", "right")
    )
    lengths = ends - starts  # positions ascend, so that a gap's pixels are a run
    pixels = np.minimum(starts + np.arange(lengths.max())[:, None], ends - 1)
    weights = (positions + 0.5 - gaps).astype(np.float32)[pixels]
    return MapAxis(start, nearest, cells, gaps - first, lengths > 0, pixels, weights)


def _best_class(cells: NDArray[np.float32]) -> NDArray[np.int64]:
    """Arg-max over the first axis, class by class: NumPy's own walks across the memory."""
    best = np.zeros(cells.shape[1:], np.int64)
    highest = cells[0].copy()
    for class_id in range(1, len(cells)):
        np.copyto(best, class_id, where=cells[class_id] > highest)
        np.maximum(highest, cells[class_id], out=highest)
    return best


def _interpolate(
    seen: ClassMap,
    cells: NDArray[np.float32],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    *,
    rows: MapAxis,
    columns: MapAxis,
) -> None:
    """Write the best class of each pixel in the squares (row, column), S of them.

    Arrays end in the axis of squares, which is the long one, and `take` keeps it contiguous.
    """
    values, class_ids, counts = _contenders(cells, row, column)
    # Squares with the most classes left come first: each further rank is then a shorter prefix.
    order = np.argsort(-counts, kind="stable")
    row, column = row.take(order), column.take(order)
    values, class_ids = values.take(order, axis=-1), class_ids.take(order, axis=-1)
    down = rows.weights.take(row, axis=1)[:, None]  # (k, 1, S)
    across = columns.weights.take(column, axis=1)  # (k, S)
    highest = _bilinear(values[0], down, across)
    class_ids = class_ids.astype(seen.dtype)
    winners = np.broadcast_to(class_ids[0], highest.shape).copy()
    for rank in range(1, len(values)):
        n = int(np.count_nonzero(counts > rank))
        value = _bilinear(values[rank, ..., :n], down[..., :n], across[..., :n])
        np.copyto(winners[..., :n], class_ids[rank, :n], where=value > highest[..., :n])
        np.maximum(highest[..., :n], value, out=highest[..., :n])
    pixels = (rows.pixels * seen.shape[1]).take(row, axis=1)[:, None]
    pixels = pixels + columns.pixels.take(column, axis=1)
    seen.reshape(-1)[pixels] = winners  # one index is five times as fast as two


def _contenders(
    cells: NDArray[np.float32], row: NDArray[np.int64], column: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """The classes that can be the best somewhere in each square, lower class ids first.

    A class whose largest corner is below the smallest corner of another never is.

    Returns:
        float32 (R, 2, 2, S), values at the corners of the R-th such class; int (R, S), its id;
        int64 (S,), how many there are. Beyond that number the first two hold anything.
    """
    classes, _, width = cells.shape
    places = row * width + column + np.array([[[0], [1]], [[width], [width + 1]]])  # (2, 2, S)
    corners = cells.reshape(classes, -1).take(places, axis=1)  # (C, 2, 2, S)
    lowest, highest = corners.min(axis=(1, 2)), corners.max(axis=(1, 2))
    can_win = highest >= lowest.max(axis=0)
    counts = np.count_nonzero(can_win, axis=0)
    class_ids = np.argsort(~can_win, axis=0, kind="stable")[: counts.max()]
    return np.take_along_axis(corners, class_ids[:, None, None], axis=0), class_ids, counts


def _bilinear(
    corners: NDArray[np.float32], down: NDArray[np.float32], across: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Interpolate (2, 2, S) corners with weights (k, 1, S) and (k, S) to (k, k, S)."""
    edges = corners[:, 0, None] + across * (corners[:, 1] - corners[:, 0])[:, None]
    value: NDArray[np.float32] = down * (edges[1] - edges[0])
    value += edges[0]
    return value
