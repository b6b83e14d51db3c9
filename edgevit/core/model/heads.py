"""Head parameters: how a detector's or segmenter's outputs are read.

They travel in `ModelSpec.head` as a mapping, and are as strict as the rest of the spec. A
classifier's is empty. The others are written with `to_dict()` and read by `parse_head` of
`edgevit.core.model.task`.

Each class says of the graphs that it describes:

- `takes`: names of the inputs that such a graph may have besides the image, where it can use them:
  `image_size` float32 (2,), the (height, width) in pixels that the image fills of the network
  input, at its upper left, padding being beyond; `score_threshold` float32 (1,), detections that do
  not have a greater score are not wanted; `max_masks` int64 (1,), how many candidates need masks,
  the first ones.
- `has_masks`: whether it answers a mask for each object.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from edgevit.core import records

Four = tuple[float, float, float, float]

MAX_LOG_RATIO = math.log(1000 / 16)


@dataclass(frozen=True, slots=True)
class AnchorGrid:
    """Anchors of a feature pyramid.

    Args:
        strides: input pixels per cell, one for each level.
        ratios: heights over widths.
        scales: sides of a square anchor, in strides.
    """

    strides: tuple[int, ...]
    ratios: tuple[float, ...]
    scales: tuple[float, ...]

    def __post_init__(self) -> None:
        records.require_numbers("strides", self.strides, records.is_count)
        records.require_numbers("ratios", self.ratios, records.is_positive)
        records.require_numbers("scales", self.scales, records.is_positive)

    @property
    def per_cell(self) -> int:
        """Number of anchors centered on one cell: each ratio with each scale."""
        return len(self.ratios) * len(self.scales)


@dataclass(frozen=True, slots=True)
class Coder:
    """How box deltas were normalized in training.

    Args:
        means: of (dx, dy, dw, dh).
        stds: of (dx, dy, dw, dh).
        max_log_ratio: largest absolute dw and dh that is believed.
    """

    means: Four = (0.0, 0.0, 0.0, 0.0)
    stds: Four = (1.0, 1.0, 1.0, 1.0)
    max_log_ratio: float = MAX_LOG_RATIO

    def __post_init__(self) -> None:
        records.require_numbers("means", self.means, records.is_finite, 4)
        records.require_numbers("stds", self.stds, records.is_positive, 4)
        records.require_value(
            "max_log_ratio", self.max_log_ratio, records.is_positive(self.max_log_ratio), "positive"
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which candidates become detections.

    Args:
        score_threshold: 0-1; a detection's score is greater than this.
        iou_threshold: 0-1; suppression drops a box that overlaps a better one by more than this.
        class_agnostic: whether boxes of different classes suppress each other.
        max_detections: how many detections an image has at most.
    """

    score_threshold: float = 0.05
    iou_threshold: float = 0.5
    class_agnostic: bool = False
    max_detections: int = 100

    def __post_init__(self) -> None:
        records.require_share("score_threshold", self.score_threshold)
        records.require_share("iou_threshold", self.iou_threshold)
        records.require_count("max_detections", self.max_detections)


@dataclass(frozen=True, slots=True)
class AnchorHead:
    """Head of a one-stage detector whose graph answers the best candidates' deltas.

    Args:
        anchors: the pyramid's anchors.
        coder: how deltas move them.
        candidates_per_level: how many (anchor, class) pairs the graph keeps of each level.
        selection: which of them become detections.
    """

    kind: ClassVar[str] = "anchors"
    takes: ClassVar[tuple[str, ...]] = ()
    has_masks: ClassVar[bool] = False

    anchors: AnchorGrid
    coder: Coder
    candidates_per_level: int
    selection: Selection

    def __post_init__(self) -> None:
        records.require_count("candidates_per_level", self.candidates_per_level)

    def to_dict(self) -> dict[str, Any]:
        """Give the spec's `head`: `kind`, and the fields as JSON values."""
        return {"kind": self.kind, **_lists(asdict(self))}


@dataclass(frozen=True, slots=True)
class BoxHead:
    """Head of a detector whose graph answers boxes, and masks where it has them.

    Args:
        selection: which of the boxes become detections.
        mask_threshold: 0-1, from which value on a mask's pixel belongs to the object; None for a
            model without masks.
    """

    kind: ClassVar[str] = "boxes"
    takes: ClassVar[tuple[str, ...]] = ("image_size", "score_threshold", "max_masks")

    selection: Selection
    mask_threshold: float | None = None

    def __post_init__(self) -> None:
        if self.mask_threshold is not None:
            records.require_share("mask_threshold", self.mask_threshold)

    @property
    def has_masks(self) -> bool:
        """Whether the graph answers a mask for each of its boxes."""
        return self.mask_threshold is not None

    def to_dict(self) -> dict[str, Any]:
        """Give the spec's `head`: `kind`, and the fields as JSON values."""
        return {"kind": self.kind, **_lists(asdict(self))}


@dataclass(frozen=True, slots=True)
class MapHead:
    """Head of a segmenter.

    Args:
        kind: `logits` where the graph answers a value for each class, `classes` where it answers
            the best class.
        stride: input pixels per cell of the graph's output.
    """

    takes: ClassVar[tuple[str, ...]] = ()
    has_masks: ClassVar[bool] = False

    kind: str
    stride: int

    def __post_init__(self) -> None:
        records.require_choice("kind", self.kind, ("logits", "classes"))
        records.require_count("stride", self.stride)

    def to_dict(self) -> dict[str, Any]:
        """Give the spec's `head`: `kind`, and the fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ClassHead:
    """Head of a classifier, which has no parameters."""

    takes: ClassVar[tuple[str, ...]] = ()
    has_masks: ClassVar[bool] = False


Head = ClassHead | AnchorHead | BoxHead | MapHead


def _lists(value: Any) -> Any:  # any JSON value
    """Copy a JSON value with tuples as lists, which is what parsing JSON gives."""
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
