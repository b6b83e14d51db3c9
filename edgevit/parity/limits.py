"""How far two sides may be apart, by the precision of their files."""

from collections.abc import Iterable
from dataclasses import dataclass

from edgevit.core.model.precision import PRECISIONS
from edgevit.errors import InputError


@dataclass(frozen=True, slots=True)
class Limits:
    """What still counts as parity.

    Args:
        tolerance: root mean square error of a floating-point output that is allowed, in standard
            deviations of the reference's output.
        min_agreement: share of decisions, 0-1, that must agree: best classes, detections, pixels.
        min_iou: overlap, 0-1, from which on two boxes, or two masks, are the same.
    """

    tolerance: float
    min_agreement: float
    min_iou: float

    def __post_init__(self) -> None:
        if not self.tolerance >= 0:
            raise InputError(f"tolerance must be from 0 up, not {self.tolerance!r}")
        for name in ("min_agreement", "min_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be from 0 to 1, not {getattr(self, name)!r}")


# Of the coarser of two precisions. What is right in float32 differs by a few millionths.
DEFAULTS = {
    "fp32": Limits(tolerance=1e-3, min_agreement=0.999, min_iou=0.95),
    "fp16-weights": Limits(tolerance=0.02, min_agreement=0.99, min_iou=0.9),
    "fp16": Limits(tolerance=0.02, min_agreement=0.99, min_iou=0.9),
    "int8": Limits(tolerance=0.2, min_agreement=0.95, min_iou=0.75),
}


def coarser(precisions: Iterable[str], *, is_one_file: bool) -> str:
    """The precision whose limits apply to a comparison.

    Args:
        precisions: of the two sides.
        is_one_file: whether both sides read the same weights, so that rounding these is no
            difference.
    """
    coarsest = max(precisions, key=PRECISIONS.index)
    return "fp32" if is_one_file and coarsest == "fp16-weights" else coarsest
