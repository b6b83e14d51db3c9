"""Detectors: what a graph answers to Detections in source pixels.

What a graph must answer, for one image, by output name. `K` candidates may come in any order.

`AnchorHead` (RetinaNet and its like). The candidates are the best (anchor, class) pairs of each
level, at most `candidates_per_level` of each, all levels one after the other, finest first:

- `scores` float32 (1, K): probabilities, 0-1.
- `indices` int64 (1, K): `anchor * classes + class_id`, the anchor counted over all levels in the
  order of `anchors_of` (level, row, column, ratio, scale), so that a level's own flat index (row,
  column, anchor, class) only needs the anchors of finer levels times `classes` added.
- `deltas` float32 (1, K, 4): (dx, dy, dw, dh) of each candidate's anchor.

`BoxHead` (Mask R-CNN and any detector that ends in boxes). Boxes may have been suppressed in the
graph already, which is not undone by suppressing again; places that hold nothing have score 0:

- `boxes` float32 (1, K, 4): xyxy in pixels of the network input.
- `scores` float32 (1, K): probabilities, 0-1.
- `class_ids` int64 (1, K).
- `masks` float32 (1, M, m, m), with a `mask_threshold`: of the first M candidates, probabilities
  of the candidate's own class, spread over its box.

Both then go the same way, which is mmdet's: scores above the threshold, boxes clipped to the
image, empty ones dropped, suppression, the best `max_detections`.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from edgevit.core.image.geometry import Geometry
from edgevit.core.model.heads import AnchorGrid, AnchorHead, BoxHead, Selection
from edgevit.core.model.spec import ModelSpec
from edgevit.core.runtime.options import check_count
from edgevit.core.runtime.protocols import AnyArray
from edgevit.core.tasks.boxes import Boxes, anchors_of, decode_deltas, nms
from edgevit.core.tasks.masks import masks_as_bool, masks_as_rle
from edgevit.core.tasks.results import Detections, Masks
from edgevit.core.tasks.signature import Output, floats
from edgevit.errors import InferenceError, InputError, suggestion

PASTERS: dict[str, Callable[..., Masks]] = {"bool": masks_as_bool, "rle": masks_as_rle}

Outputs = Mapping[str, AnyArray]

RESULT = Detections
ALL_MASKS = 2**30  # more than any graph has; runtimes may keep numbers in 32 bits


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What a head has before selection; `boxes_at` gives boxes only where they are needed.

    Args:
        scores: float32 (K,).
        class_ids: int64 (K,).
        boxes_at: from int64 (S,) places to float32 (S, 4), xyxy in input pixels, not clipped.
    """

    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    boxes_at: Callable[[NDArray[np.int64]], Boxes]


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    """What a caller wants, checked.

    Args:
        selection: which candidates become detections.
        is_wanted: bool (C,), which classes are; None for all. The others suppress nothing.
        paste: makes masks of float32 (S, m, m) probabilities, boxes (S, 4) in input pixels and a
            Geometry; None where no masks are wanted.
    """

    selection: Selection
    is_wanted: NDArray[np.bool_] | None
    paste: Callable[[NDArray[np.float32], Boxes, Geometry], Masks] | None


def graph_outputs(spec: ModelSpec, head: AnchorHead | BoxHead) -> tuple[Output, ...]:
    """Describe what a detector's graph must answer; see the module's text."""
    if isinstance(head, AnchorHead):
        indices = Output("indices", "i", "int64", (1, "K"))
        return (floats("scores", 1, "K"), indices, floats("deltas", 1, "K", 4))
    class_ids = Output("class_ids", "i", "int64", (1, "K"))
    boxes = (floats("boxes", 1, "K", 4), floats("scores", 1, "K"), class_ids)
    return (*boxes, floats("masks", 1, "M", "m", "n")) if head.has_masks else boxes


def parameters(
    spec: ModelSpec,
    head: AnchorHead | BoxHead,
    *,
    score_threshold: float | None = None,
    max_detections: int | None = None,
    class_names: Collection[str] | None = None,
    masks: str | None = None,
) -> Parameters:
    """Check what a caller wants.

    Args:
        spec: names the classes.
        head: the spec's head.
        score_threshold: 0-1, a detection's score is greater; None for the head's.
        max_detections: how many to answer at most; None for the head's.
        class_names: the classes that are wanted; None for all.
        masks: `bool` or `rle` for masks in that form; None to leave them out.

    Raises:
        InputError: if one is not acceptable.
    """
    return Parameters(
        _selection(head.selection, score_threshold, max_detections),
        _class_filter(class_names, spec),
        _paster(masks, head, spec),
    )


def graph_inputs(head: AnchorHead | BoxHead, wanted: Parameters | None = None) -> dict[str, float]:
    """Say what the graph is told besides the image, so that it computes no more than is wanted.

    Args:
        head: the spec's head.
        wanted: what `parameters` made; None for the head's own selection, with all masks.
    """
    if wanted is None:
        return {"score_threshold": head.selection.score_threshold, "max_masks": ALL_MASKS}
    return {
        "score_threshold": wanted.selection.score_threshold,
        "max_masks": 0 if wanted.paste is None else ALL_MASKS,
    }


def read(
    outputs: Outputs,
    geometry: Geometry,
    *,
    spec: ModelSpec,
    head: AnchorHead | BoxHead,
    wanted: Parameters,
) -> Detections:
    """Read a detector's outputs for one image.

    Args:
        outputs: what the graph answered, see the module's text.
        geometry: maps the network input to the source image.
        spec: names the classes.
        head: the spec's head.
        wanted: what `parameters` made.

    Returns:
        The result, without timings, best first; equal scores keep the graph's order.

    Raises:
        InferenceError: if a score or a box is not finite, or an index is out of range.
    """
    paste = wanted.paste
    candidates = READERS[type(head)](outputs, spec, head)
    places, inner = _select(candidates, geometry, wanted)
    ids = candidates.class_ids[places]
    return Detections(
        geometry.boxes_to_source(_clip(inner, geometry)),
        candidates.scores[places],
        ids,
        tuple([spec.class_names[index] for index in ids.tolist()]),
        {},
        None if paste is None else paste(_masks_at(places, outputs["masks"][0]), inner, geometry),
    )


def _select(
    candidates: Candidates, geometry: Geometry, wanted: Parameters
) -> tuple[NDArray[np.int64], Boxes]:
    """Places of the detections, best first, and their boxes in input pixels, not clipped."""
    selection = wanted.selection
    passing = candidates.scores > selection.score_threshold
    if wanted.is_wanted is not None:
        passing &= wanted.is_wanted[candidates.class_ids]
    places = np.flatnonzero(passing)
    boxes = candidates.boxes_at(places)
    if not (np.isfinite(candidates.scores).all() and np.isfinite(boxes).all()):
        raise InferenceError(
            "the model answered scores or boxes that are not finite; its weights or its input "
            "hold NaN or infinity. Run `edgevit doctor MODEL`"
        )
    clipped = _clip(boxes, geometry)
    # What was found in the padding alone is empty now, and would be a box on the image's border.
    filled = np.flatnonzero((clipped[:, 2:] > clipped[:, :2]).all(axis=1))
    places, boxes, clipped = places[filled], boxes[filled], clipped[filled]
    kept = nms(
        clipped,
        candidates.scores[places],
        None if selection.class_agnostic else candidates.class_ids[places],
        iou_threshold=selection.iou_threshold,
        max_detections=selection.max_detections,
    )
    return places[kept], boxes[kept]


def _clip(boxes: Boxes, geometry: Geometry) -> Boxes:
    """Clip boxes in input pixels to the part of the input that shows the image."""
    x0, y0, x1, y1 = geometry.input_box
    low, high = np.array((x0, y0) * 2, np.float32), np.array((x1, y1) * 2, np.float32)
    return np.minimum(np.maximum(boxes, low), high)


def _anchor_candidates(outputs: Outputs, spec: ModelSpec, head: AnchorHead) -> Candidates:
    anchors = _cached_anchors(head.anchors, spec.input.size)
    indices, deltas = outputs["indices"][0], outputs["deltas"][0]
    _require_range("indices", indices, len(anchors) * len(spec.class_names))
    anchor_ids, class_ids = np.divmod(indices, len(spec.class_names))

    def boxes_at(places: NDArray[np.int64]) -> Boxes:
        return decode_deltas(deltas[places], anchors[anchor_ids[places]], head.coder)

    return Candidates(outputs["scores"][0], class_ids, boxes_at)


def _box_candidates(outputs: Outputs, spec: ModelSpec, head: BoxHead) -> Candidates:
    boxes, class_ids = outputs["boxes"][0], outputs["class_ids"][0]
    _require_range("class_ids", class_ids, len(spec.class_names))
    return Candidates(outputs["scores"][0], class_ids, boxes.__getitem__)


READERS: dict[type, Callable[..., Candidates]] = {
    AnchorHead: _anchor_candidates,
    BoxHead: _box_candidates,
}


@lru_cache(maxsize=8)
def _cached_anchors(grid: AnchorGrid, input_size: tuple[int, int]) -> Boxes:
    return anchors_of(grid, input_size)


def _masks_at(places: NDArray[np.int64], masks: NDArray[np.float32]) -> NDArray[np.float32]:
    if len(places) and places.max() >= len(masks):
        raise InferenceError(
            f"the model answered masks for its first {len(masks)} candidates only, but number "
            f"{places.max() + 1} is a detection; infer with a greater max_masks"
        )
    return masks[places]


def _require_range(name: str, indices: NDArray[np.int64], count: int) -> None:
    if len(indices) and not (indices.min() >= 0 and indices.max() < count):
        raise InferenceError(
            f"the model answered {name} from {indices.min()} to {indices.max()}, but its spec has "
            f"{count} of them; export the model again"
        )


def _selection(
    selection: Selection, score_threshold: float | None, max_detections: int | None
) -> Selection:
    threshold = selection.score_threshold if score_threshold is None else score_threshold
    count = selection.max_detections if max_detections is None else max_detections
    if isinstance(threshold, bool) or not isinstance(threshold, int | float | np.floating):
        raise InputError(f"score_threshold must be a number from 0 to 1, not {threshold!r}")
    if not 0 <= threshold <= 1:
        raise InputError(f"score_threshold must be from 0 to 1, not {threshold!r}")
    check_count("max_detections", count)
    return Selection(
        float(threshold), selection.iou_threshold, selection.class_agnostic, max_detections=count
    )


def _class_filter(class_names: Collection[str] | None, spec: ModelSpec) -> NDArray[np.bool_] | None:
    """Which class ids are wanted, bool (C,); None for all."""
    if class_names is None:
        return None
    if isinstance(class_names, str):
        raise InputError(f"class_names must be a list of names, not the text {class_names!r}")
    for name in class_names:
        if name not in spec.class_names:
            meant = suggestion(str(name), spec.class_names)
            raise InputError(f"{spec.name!r} has no class {name!r}{meant}")
    return np.array([name in class_names for name in spec.class_names])


def _paster(
    masks: str | None, head: AnchorHead | BoxHead, spec: ModelSpec
) -> Callable[[NDArray[np.float32], Boxes, Geometry], Masks] | None:
    if masks is None:
        return None
    if masks not in PASTERS:
        raise InputError(f"masks must be one of {', '.join(PASTERS)} or None, not {masks!r}")
    if isinstance(head, AnchorHead) or head.mask_threshold is None:  # has no masks
        raise InputError(f"{spec.name!r} finds boxes only; leave `masks` out")
    return partial(_paste, paster=PASTERS[masks], threshold=head.mask_threshold)


def _paste(
    masks: NDArray[np.float32],
    boxes: Boxes,
    geometry: Geometry,
    *,
    paster: Callable[..., Masks],
    threshold: float,
) -> Masks:
    """Paste over the source; a mask belongs to its box as the graph had it, so none is clipped."""
    corners = geometry.points_to_source(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    return paster(masks, corners, geometry.source_size, threshold)
