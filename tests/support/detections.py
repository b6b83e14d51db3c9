"""A plain decoder of detections, to compare with the official ones."""

from __future__ import annotations

import numpy as np


def intersection_over_union(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Of one xyxy box (4,) and others (N, 4)."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = sides.clip(min=0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return shared / ((box[2:] - box[:2]).prod() + areas - shared)


def suppress(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, threshold: float):
    """Places of the boxes that survive, the best first; labels do not suppress each other."""
    order = list(np.argsort(-scores, kind="stable"))
    survivors = []
    while order:
        best = order.pop(0)
        survivors.append(best)
        overlap = intersection_over_union(boxes[best], boxes[order])
        hit = (overlap > threshold) & (labels[order] == labels[best])
        order = [place for place, is_hit in zip(order, hit, strict=True) if not is_hit]
    return survivors


def matched_errors(found, official):
    """Match detections (boxes, scores, labels) as sets.

    Returns:
        For every official detection, the largest IoU with a found one of its label, the
        difference of their scores, and the largest difference of a corner in pixels.
    """
    boxes, scores, labels = found
    errors = []
    for box, score, label in zip(*official, strict=True):
        overlaps = np.where(labels == label, intersection_over_union(box, boxes), 0)
        best = overlaps.argmax()
        errors.append((overlaps[best], abs(scores[best] - score), abs(boxes[best] - box).max()))
    return np.array(errors).T
