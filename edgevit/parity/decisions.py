"""Count the decisions of two sides that agree, by the model's task."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgevit.core.tasks.results import Classification, Detections, Result, Segmentation
from edgevit.parity.boxes import matched_boxes
from edgevit.parity.limits import Limits

MATCH_IOU = 0.5  # boxes that overlap less are different findings
TOP = 5

Figures = Mapping[str, float | int | None]
ClassFigures = Mapping[str, str | int | float | None]


class Decisions(Protocol):
    """Adds up images, and says how much of what was decided agrees."""

    def add(self, reference: Any, other: Any) -> bool:  # Results, of the one task
        """Add two answers to one image; say whether they agree in everything."""

    @property
    def agreement(self) -> float:
        """Share, 0-1, of the decisions that agree; 1 where there were none."""

    def figures(self) -> Figures:
        """Counts, shares and overlaps, by name."""

    def per_class(self) -> Sequence[ClassFigures]:
        """Figures of each class, where the task has such."""


class ClassifierDecisions:
    """The best class of each image, and its best five."""

    def __init__(self, class_names: Sequence[str], limits: Limits) -> None:
        self._images = self._top1 = 0
        self._top5 = 0.0

    def add(self, reference: Classification, other: Classification) -> bool:
        """Compare the best class, and the best five as sets."""
        agrees = bool(reference.class_ids[0] == other.class_ids[0])
        self._images += 1
        self._top1 += agrees
        self._top5 += float(np.mean(np.isin(reference.class_ids, other.class_ids)))
        return agrees

    @property
    def agreement(self) -> float:
        """Share of images with the same best class."""
        return self._top1 / self._images if self._images else 1.0

    def figures(self) -> Figures:
        """Share of the same best class, and how much of the best five is the same."""
        return {"top1": self.agreement, "top5": self._top5 / max(self._images, 1)}

    def per_class(self) -> Sequence[ClassFigures]:
        """Empty: only segmenters have figures of each class."""
        return ()


class DetectorDecisions:
    """Boxes, and masks where the model has them; the same from `limits.min_iou` on."""

    def __init__(self, class_names: Sequence[str], limits: Limits) -> None:
        self._min_iou = limits.min_iou
        self._counts = np.zeros(2, np.int64)
        self._same = 0
        self._ious: list[float] = []
        self._mask_ious: list[float] = []
        self._score_error = self._lone_score = 0.0

    def add(self, reference: Detections, other: Detections) -> bool:
        """Match by class and overlap; what has no partner on the other side is counted as such."""
        first, second, ious = matched_boxes(
            reference.boxes,
            reference.class_ids,
            other.boxes,
            other.class_ids,
            min_iou=MATCH_IOU,
        )
        is_same = ious >= self._min_iou
        if reference.masks is not None:
            mask_ious = _mask_ious(reference, other, first, second)
            is_same &= mask_ious >= self._min_iou
            self._mask_ious += mask_ious.tolist()
        errors = np.abs(reference.scores[first] - other.scores[second])
        self._score_error = max(self._score_error, float(errors.max(initial=0)))
        for scores, places in ((reference.scores, first), (other.scores, second)):
            lone = np.delete(scores, places)
            self._lone_score = max(self._lone_score, float(lone.max(initial=0)))
        self._counts += len(reference), len(other)
        self._same += int(is_same.sum())
        self._ious += ious.tolist()
        return len(reference) == len(other) == int(is_same.sum())

    @property
    def agreement(self) -> float:
        """Share of all detections, of both sides, that have the same on the other."""
        total = int(self._counts.sum())
        return 2 * self._same / total if total else 1.0

    def figures(self) -> Figures:
        """Counts of detections and partners, their overlap, and the scores of those without."""
        matched = len(self._ious)
        own, others = self._counts.tolist()
        figures: dict[str, float | int | None] = {
            "detections": own,
            "matched": matched,
            "only_reference": own - matched,
            "only_other": others - matched,
            "highest_unmatched_score": self._lone_score,
            "largest_score_difference": self._score_error,
            **_spread("box_iou", self._ious),
        }
        return figures | (_spread("mask_iou", self._mask_ious) if self._mask_ious else {})

    def per_class(self) -> Sequence[ClassFigures]:
        """Empty: only segmenters have figures of each class."""
        return ()


class SegmenterDecisions:
    """The class of each pixel that the network saw."""

    def __init__(self, class_names: Sequence[str], limits: Limits) -> None:
        self._names = class_names
        self._pixels = np.zeros((len(class_names), len(class_names)), np.int64)
        self._worst = 1.0

    def add(self, reference: Segmentation, other: Segmentation) -> bool:
        """Count the pixels of each pair of classes; those the network did not see are in none."""
        count = len(self._names)
        seen = reference.class_map != reference.unseen
        pairs = reference.class_map[seen].astype(np.int64) * count + other.class_map[seen]
        pixels = np.bincount(pairs, minlength=count**2).reshape(count, count)
        self._pixels += pixels
        share = float(np.trace(pixels)) / max(int(pixels.sum()), 1)
        self._worst = min(self._worst, share)
        return share == 1

    @property
    def agreement(self) -> float:
        """Share of all images' pixels, 0-1, that have the same class; 1 where there were none."""
        total = int(self._pixels.sum())
        return int(np.trace(self._pixels)) / total if total else 1.0

    def figures(self) -> Figures:
        """Shares of pixels, and the mean overlap of the classes that occur."""
        ious = [row["iou"] for row in self.per_class() if isinstance(row["iou"], float)]
        return {
            "pixels": self.agreement,
            "pixels_of_worst_picture": self._worst,
            "mean_class_iou": sum(ious) / len(ious) if ious else None,
        }

    def per_class(self) -> Sequence[ClassFigures]:
        """For each class the reference's pixels, and the overlap of both sides' areas."""
        own, others = self._pixels.sum(axis=1), self._pixels.sum(axis=0)
        shared = np.diagonal(self._pixels)
        unions = (own + others - shared).tolist()
        return [
            {
                "class_id": index,
                "class_name": name,
                "pixels": int(own[index]),
                "iou": int(shared[index]) / unions[index] if unions[index] else None,
            }
            for index, name in enumerate(self._names)
        ]


DECISIONS: dict[type[Result], Callable[[Sequence[str], Limits], Decisions]] = {
    Classification: ClassifierDecisions,
    Detections: DetectorDecisions,
    Segmentation: SegmenterDecisions,
}


def _mask_ious(
    reference: Detections, other: Detections, first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Overlaps of the masks of pairs, float64 (P,); 1 where both are empty."""
    own, others = reference.rles(), other.rles()
    ious = np.ones(len(first))
    for index, (place, partner) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        mask, opposite = own[place].to_mask(), others[partner].to_mask()
        union = int(np.count_nonzero(mask | opposite))
        if union:
            ious[index] = int(np.count_nonzero(mask & opposite)) / union
    return ious


def _spread(name: str, ious: Sequence[float]) -> dict[str, float | int | None]:
    return {
        f"{name}_mean": sum(ious) / len(ious) if ious else None,
        f"{name}_min": min(ious, default=None),
    }
