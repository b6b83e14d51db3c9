"""Match the boxes of two sides."""

import numpy as np
from numpy.typing import NDArray

from edgevit.core.tasks.boxes import Boxes, box_iou

Places = NDArray[np.int64]


def matched_boxes(
    boxes: Boxes,
    class_ids: NDArray[np.integer],
    other_boxes: Boxes,
    other_class_ids: NDArray[np.integer],
    *,
    min_iou: float,
) -> tuple[Places, Places, NDArray[np.float32]]:
    """Pair boxes of the same class, best overlap first, each at most once.

    Args:
        boxes: float32 (N, 4), xyxy.
        class_ids: (N,).
        other_boxes: float32 (M, 4), xyxy in the same frame.
        other_class_ids: (M,).
        min_iou: overlap, above 0, from which on two boxes may be a pair.

    Returns:
        Places of the pairs among the first boxes, int64 (P,), and among the others, and their IoU,
        float32 (P,), largest first.
    """
    iou = box_iou(boxes, other_boxes)
    iou[class_ids[:, None] != other_class_ids] = 0
    rows, columns = np.nonzero(iou >= min_iou)
    order = np.argsort(-iou[rows, columns], kind="stable")
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in pairs and column not in taken:
            pairs[row] = column
            taken.add(column)
    first, second = (np.array(list(part), np.int64) for part in (pairs.keys(), pairs.values()))
    return first, second, iou[first, second]
