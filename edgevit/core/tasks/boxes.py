"""Boxes as arrays: overlap, anchors, the delta coder and non-maximum suppression.

Every function is pure. Boxes are xyxy in continuous image coordinates (see `geometry`).
"""

import numpy as np
from numpy.typing import NDArray

from edgevit.core.model.heads import AnchorGrid, Coder

Boxes = NDArray[np.float32]

# Candidates that suppression looks at together: pairwise work grows with its square, and a smaller
# number means more rounds. 128 was the fastest for 3,000 candidates of which 100 are wanted.
NMS_BLOCK = 128


def box_areas(boxes: NDArray[np.floating]) -> NDArray[np.float32]:
    """Areas of boxes, float32 (N,); 0 for a box whose corners are in the wrong order.

    Args:
        boxes: float (N, 4), xyxy.
    """
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


def box_iou(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float32]:
    """Overlap of every box with every other: intersection over union.

    Args:
        first: float (N, 4), xyxy.
        second: float (M, 4), xyxy.

    Returns:
        float32 (N, M), in [0, 1]; 0 where both boxes are empty.
    """
    shared = _intersections(np.asarray(first, np.float32).T, np.asarray(second, np.float32).T)
    union = box_areas(first)[:, None] + box_areas(second)[None] - shared
    union[union == 0] = 1  # both empty: 0 of anything
    shared /= union
    return shared


def level_sizes(grid: AnchorGrid, input_size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Sizes of the pyramid's feature maps, (height, width) in cells for each level.

    Args:
        grid: strides of the levels.
        input_size: network input (height, width) in pixels.

    Example:
        >>> level_sizes(AnchorGrid((8, 128), (1.0,), (4.0,)), (256, 320))
        ((32, 40), (2, 3))
    """
    height, width = input_size
    return tuple((-(-height // stride), -(-width // stride)) for stride in grid.strides)


def anchors_of(grid: AnchorGrid, input_size: tuple[int, int]) -> Boxes:
    """Lay out a pyramid's anchors.

    Args:
        grid: strides, aspect ratios and scales.
        input_size: network input (height, width) in pixels.

    Returns:
        float32 (A, 4), xyxy in input pixels, not clipped. The order is level, row, column, ratio,
        scale (the last one runs fastest).

    Source:
        mmdet `AnchorGenerator` with `scale_major=True` and `center_offset=0`: an anchor's center
        is its cell's upper left corner.
    """
    scales = np.array(grid.scales, np.float32)
    stretch = np.sqrt(np.array(grid.ratios, np.float32))[:, None]
    # A ratio changes the sides of an anchor, and keeps its area.
    halves = np.stack([scales / stretch, scales * stretch], axis=-1).reshape(-1, 2) / 2
    shape = np.concatenate([-halves, halves], axis=1)
    levels = []
    for stride, (rows, columns) in zip(grid.strides, level_sizes(grid, input_size), strict=True):
        y, x = np.mgrid[:rows, :columns].astype(np.float32)
        corners = np.stack([x, y, x, y], axis=-1).reshape(-1, 1, 4)
        levels.append(((corners + shape) * stride).reshape(-1, 4))
    return np.concatenate(levels)


def decode_deltas(deltas: NDArray[np.floating], anchors: Boxes, coder: Coder) -> Boxes:
    """Move and scale anchors by what the network answered.

    Args:
        deltas: float (N, 4), (dx, dy, dw, dh).
        anchors: float32 (N, 4), xyxy.
        coder: how deltas were normalized, and their clip.

    Returns:
        float32 (N, 4), xyxy in the anchors' frame, not clipped.

    Source:
        mmdet `DeltaXYWHBBoxCoder`, `delta2bbox`.
    """
    scaled = deltas * np.array(coder.stds, np.float32) + np.array(coder.means, np.float32)
    half_sizes = (anchors[:, 2:] - anchors[:, :2]) / 2
    centers = anchors[:, :2] + half_sizes + 2 * half_sizes * scaled[:, :2]
    limit = coder.max_log_ratio
    half_sizes *= np.exp(np.clip(scaled[:, 2:], -limit, limit))
    return _corners(centers - half_sizes, centers + half_sizes)


def nms(
    boxes: Boxes,
    scores: NDArray[np.float32],
    class_ids: NDArray[np.integer] | None,
    *,
    iou_threshold: float,
    max_detections: int,
) -> NDArray[np.int64]:
    """Keep the best of boxes that overlap: greedy non-maximum suppression.

    Works through the candidates in blocks, best first, and stops when enough are kept.

    Args:
        boxes: float32 (N, 4), xyxy.
        scores: float32 (N,).
        class_ids: (N,), boxes of different classes do not suppress each other; None: they do.
        iou_threshold: a box goes where its IoU with a better kept one is greater than this.
        max_detections: how many to keep at most.

    Returns:
        int64 (K,), indices of the kept boxes, best first. Equal scores keep the order given.
    """
    waiting = np.argsort(-scores, kind="stable")
    kept = np.empty(0, np.int64)
    while len(waiting) and len(kept) < max_detections:
        block, waiting = waiting[:NMS_BLOCK], waiting[NMS_BLOCK:]
        if len(kept):
            clashes = _clashes(boxes, class_ids, kept, block, iou_threshold=iou_threshold)
            block = block[~clashes.any(axis=0)]
        clashes = _clashes(boxes, class_ids, block, block, iou_threshold=iou_threshold)
        kept = np.concatenate([kept, block[_greedy(np.triu(clashes, 1))]])
    return kept[:max_detections]


def _corners(first: NDArray[np.floating], second: NDArray[np.floating]) -> Boxes:
    boxes = np.empty((len(first), 4), np.float32)
    boxes[:, :2], boxes[:, 2:] = first, second
    return boxes


def _intersections(first: Boxes, second: Boxes) -> NDArray[np.float32]:
    """Shared areas (N, M) of boxes given as coordinates by axis, (4, N) and (4, M)."""
    width: NDArray[np.float32] = np.minimum(first[2][:, None], second[2])
    width -= np.maximum(first[0][:, None], second[0])
    height = np.minimum(first[3][:, None], second[3])
    height -= np.maximum(first[1][:, None], second[1])
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    width *= height
    return width


def _clashes(
    boxes: Boxes,
    class_ids: NDArray[np.integer] | None,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    *,
    iou_threshold: float,
) -> NDArray[np.bool_]:
    """Which of `first` (rows) overlap which of `second` too much, bool (N, M)."""
    one, other = boxes[first], boxes[second]
    shared = _intersections(one.T, other.T)
    # shared / union > threshold without the division, whose 0 / 0 would need care
    shared *= np.float32(1 + iou_threshold)
    threshold = np.float32(iou_threshold)
    limit = (threshold * box_areas(one))[:, None] + threshold * box_areas(other)
    clashes = shared > limit
    if class_ids is not None:
        clashes &= class_ids[first][:, None] == class_ids[second]
    return clashes


def _greedy(clashes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Who stays where a better one that stays clashes with it.

    Starting with all, each pass settles at least one more candidate for good, and the chains of
    "it would have gone, had its rival not gone" are short, so a few passes do.

    Args:
        clashes: bool (N, N), upper triangle: [better, worse].
    """
    stays: NDArray[np.bool_] = np.ones(len(clashes), bool)
    while True:
        again = np.logical_not(clashes[stays].any(axis=0))
        if np.array_equal(again, stays):
            return stays
        stays = again
