"""How far two runtimes' tensors are apart."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevit.core.model.heads import AnchorHead, BoxHead, Head
from edgevit.core.runtime.protocols import AnyArray
from edgevit.parity.boxes import matched_boxes

MATCH_IOU = 0.5  # of boxes whose tensors are compared

Outputs = Mapping[str, AnyArray]
Pairs = dict[str, tuple[AnyArray, AnyArray]]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TensorParity:
    """How far one output is apart over all images.

    Args:
        output: its name in the reference's graph.
        values: how many were compared.
        max_error: largest absolute difference; None for ids, as for the next four.
        mean_error: mean absolute difference.
        std: standard deviation of the reference's values.
        relative_error: root of the mean squared difference, in standard deviations. A single wrong
            value shows in it, and rounding that now and then adds up does not rule it.
        cosine: cosine of the angle between the two, the smallest of all images'.
        changed: of ids, the share that differs; None for floating-point values.
        not_finite: how many values are NaN or infinite on one side, and not the same on the other.
    """

    output: str
    values: int
    max_error: float | None
    mean_error: float | None
    std: float | None
    relative_error: float | None
    cosine: float | None
    changed: float | None
    not_finite: int

    def exceeds(self, tolerance: float) -> bool:
        """Whether the error is more than so many standard deviations, or not even finite."""
        return self.not_finite > 0 or (self.relative_error or 0.0) > tolerance


class FloatTally:
    """Adds up the differences of a floating-point output, in float64 over all images."""

    def __init__(self, output: str) -> None:
        self._output = output
        self._count = self._not_finite = 0
        self._sum = self._squares = self._errors = self._squared_errors = self._max = 0.0
        self._cosine = 1.0

    def add(self, reference: AnyArray, other: AnyArray) -> float:
        """Add one image's values, of one shape.

        Returns:
            The image's own relative error, see `relative_error`.
        """
        first, second = (np.asarray(array, np.float64).reshape(-1) for array in (reference, other))
        usable = np.isfinite(first) & np.isfinite(second)
        same = (first == second) | (np.isnan(first) & np.isnan(second))
        self._not_finite += int(np.count_nonzero(~usable & ~same))
        first, second = first[usable], second[usable]
        errors = np.abs(first - second)
        self._count += len(first)
        self._sum += float(first.sum())
        self._squares += float(first @ first)
        self._errors += float(errors.sum())
        self._squared_errors += float(errors @ errors)
        self._max = max(self._max, float(errors.max(initial=0)))
        self._cosine = min(self._cosine, _cosine(first, second))
        return relative_error(reference, other)

    def parity(self) -> TensorParity:
        """The figures of all images added so far; `changed` is None."""
        count = max(self._count, 1)
        mean = self._sum / count
        std = float(np.sqrt(max(0.0, self._squares / count - mean**2)))
        return TensorParity(
            output=self._output,
            values=self._count,
            max_error=self._max,
            mean_error=self._errors / count,
            std=std,
            relative_error=float(np.sqrt(self._squared_errors / count)) / (std or 1.0),
            cosine=self._cosine,
            changed=None,
            not_finite=self._not_finite,
        )


class IdTally:
    """Counts the changes of an output of whole numbers, such as class ids."""

    def __init__(self, output: str) -> None:
        self._output = output
        self._count = self._changed = 0

    def add(self, reference: AnyArray, other: AnyArray) -> float:
        """Add one image's values, of one shape; answer the share of them that differs."""
        changed = int(np.count_nonzero(reference != other))
        self._count += reference.size
        self._changed += changed
        return changed / max(reference.size, 1)

    def parity(self) -> TensorParity:
        """The share of all values added so far that differ; figures of size are None."""
        share = self._changed / max(self._count, 1)
        return TensorParity(self._output, self._count, *(None,) * 5, changed=share, not_finite=0)


def tally_for(output: str, array: AnyArray) -> FloatTally | IdTally:
    """Make what adds up an output of this dtype."""
    return FloatTally(output) if array.dtype.kind == "f" else IdTally(output)


def relative_error(reference: AnyArray, other: AnyArray) -> float:
    """Root of the mean squared difference of two tensors in standard deviations of the first.

    Of ids and truth values it is the share that differs; where shapes differ, or one side alone is
    not finite, it is infinite.
    """
    if reference.shape != other.shape:
        return float("inf")
    if reference.size == 0:
        return 0.0
    if holds_ids(reference):
        return float(np.mean(reference != other))
    first, second = (np.asarray(array, np.float64) for array in (reference, other))
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    with np.errstate(invalid="ignore"):  # infinity minus infinity, which `same` has found
        errors = np.where(same, 0.0, np.abs(first - second))
    if not np.isfinite(errors).all():
        return float("inf")
    std = float(first[np.isfinite(first)].std()) if np.isfinite(first).any() else 0.0
    return float(np.sqrt(np.mean(errors**2))) / (std or 1.0)


def holds_ids(array: AnyArray) -> bool:
    """Whether numbers name something, or are true or false, so that near ones are no better.

    Integers of 8 and 16 bits are quantized quantities.
    """
    return array.dtype.kind == "b" or (array.dtype.kind in "iu" and array.itemsize > 2)


def comparable(reference: Outputs, other: Outputs, head: Head) -> Pairs:
    """Pair the values of two sides that mean the same.

    Classifiers' and segmenters' do by their place. A detector's candidates change places where
    their scores are all but equal; of these, the ones that both sides have are paired.

    Args:
        reference: outputs of one image, by the spec's names.
        other: the other side's outputs of the same image.
        head: the spec's head.

    Returns:
        Two arrays of one shape for each output.
    """
    return PAIRINGS.get(type(head), _by_place)(reference, other)


def _by_place(reference: Outputs, other: Outputs) -> Pairs:
    return {name: (array, other[name]) for name, array in reference.items()}


def _by_index(reference: Outputs, other: Outputs) -> Pairs:
    """Candidates of one anchor and class; `indices` shows which of the reference's are missing."""
    own, others = reference["indices"][0], other["indices"][0]
    common, first, second = np.intersect1d(own, others, return_indices=True)
    pairs: Pairs = {"indices": (own, np.where(np.isin(own, common), own, -1))}
    for name in ("scores", "deltas"):
        pairs[name] = reference[name][0][first], other[name][0][second]
    return pairs


def _by_overlap(reference: Outputs, other: Outputs) -> Pairs:
    """Candidates of one class that overlap, best overlap first; without score: empty places."""
    filled = [np.flatnonzero(outputs["scores"][0] > 0) for outputs in (reference, other)]
    boxes, ids = (
        [
            outputs[name][0][places]
            for outputs, places in zip((reference, other), filled, strict=True)
        ]
        for name in ("boxes", "class_ids")
    )
    first, second, _ = matched_boxes(boxes[0], ids[0], boxes[1], ids[1], min_iou=MATCH_IOU)
    pairs: Pairs = {}
    for name in ("boxes", "scores", "masks"):
        if name in reference:
            own, others = reference[name][0], other[name][0]
            places = filled[0][first], filled[1][second]
            drawn = (places[0] < len(own)) & (places[1] < len(others))  # masks: of the first only
            pairs[name] = own[places[0][drawn]], others[places[1][drawn]]
    return pairs


PAIRINGS: dict[type, Callable[[Outputs, Outputs], Pairs]] = {
    AnchorHead: _by_index,
    BoxHead: _by_overlap,
}


def _cosine(first: Floats, second: Floats) -> float:
    lengths = float(np.linalg.norm(first)) * float(np.linalg.norm(second))
    if lengths:
        return min(1.0, float(first @ second) / lengths)
    return 1.0 if np.array_equal(first, second) else 0.0
