"""Operators of detectors that PyTorch lacks and ONNX has: what they compute, and their graphs.

In PyTorch they compute what the modules of `edgevit.models.roi` do, as slowly as these; in a graph
they are NonMaxSuppression and RoiAlign, with a few standard operators around them. Every tensor has
a known shape on both sides, whatever is found, except those cut out.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnx import TensorProto, helper
from onnxscript import opset20
from torch import Tensor

from edgevit.models.roi import NMS, RoIAlign

# OpenVINO answers NaN for a box without width or height, which nobody looks at, but which a softmax
# and a product with 0 pass on. In pixels.
SMALLEST_SIDE = 1e-3


@torch.library.custom_op("edgevit::suppress", mutates_args=())
def suppress(
    boxes: Tensor, scores: Tensor, iou_threshold: float, limit: int
) -> tuple[Tensor, Tensor]:
    """Take the best boxes of groups without those that overlap them; see `NMS`.

    Args:
        boxes: (G, N, 4), xyxy.
        scores: (G, N); a box without a positive score is never taken.
        iou_threshold: overlap above which the worse of two boxes of a group goes.
        limit: how many boxes are taken.

    Returns:
        Places int64 (limit,) in the flattened G*N boxes, the best first, and their scores
        (limit,), which are 0 where too few boxes remained.
    """
    return NMS(iou_threshold, limit)(boxes, scores)


@suppress.register_fake
def _suppress_shapes(
    boxes: Tensor, scores: Tensor, iou_threshold: float, limit: int
) -> tuple[Tensor, Tensor]:
    return boxes.new_empty(limit, dtype=torch.int64), scores.new_empty(limit)


@torch.library.custom_op("edgevit::cut", mutates_args=())
def cut(  # noqa: PLR0917 - the exporter passes by place
    levels: Sequence[Tensor], boxes: Tensor, chosen: Tensor, strides: Sequence[int], cells: int
) -> Tensor:
    """Cut boxes out of levels, each to a square of cells; see `RoIAlign`.

    Args:
        levels: maps (1, C, H, W).
        boxes: (R, 4), xyxy in pixels of the input.
        chosen: int64 (R,), rising: which level each is cut out of.
        strides: input pixels per cell of each level.
        cells: side of the square.

    Returns:
        Cuts (R, C, cells, cells).
    """
    cuts = [
        RoIAlign(cells, [stride])([level[0]], boxes[chosen == index])
        for index, (level, stride) in enumerate(zip(levels, strides, strict=True))
        if (chosen == index).any()
    ]
    nothing = boxes.new_empty(0, levels[0].shape[1], cells, cells)
    return torch.cat([nothing, *cuts])


@cut.register_fake
def _cut_shapes(  # noqa: PLR0917 - the exporter passes by place
    levels: Sequence[Tensor], boxes: Tensor, chosen: Tensor, strides: Sequence[int], cells: int
) -> Tensor:
    return boxes.new_empty(boxes.shape[0], levels[0].shape[1], cells, cells)


# Any: onnxscript declares values as tensors of a dtype, not as what is passed while a graph is
# being written.
Value = Any
op: Any = opset20


def _zeros(count: Value, dtype: int) -> Value:
    return op.ConstantOfShape(count, value=helper.make_tensor("zero", dtype, [1], [0]))


def _suppress_graph(boxes: Value, scores: Value, iou_threshold: float, limit: int) -> Value:
    """`limit` zeros join what NonMaxSuppression found, so that there are enough to choose from."""
    count = op.Constant(value_ints=[limit])
    threshold = op.Constant(value_floats=[iou_threshold])
    positive = op.Constant(value_floats=[0.0])
    found = op.NonMaxSuppression(boxes, op.Unsqueeze(scores, [1]), count, threshold, positive)
    group, _, member = op.Split(found, axis=1, num_outputs=3)
    members = op.Shape(boxes, start=1, end=2)
    places = op.Reshape(op.Add(op.Mul(group, members), member), [-1])
    kept = op.Gather(op.Reshape(scores, [-1]), places)
    kept, order = op.TopK(op.Concat(kept, _zeros(count, TensorProto.FLOAT), axis=0), count)
    places = op.Concat(places, _zeros(count, TensorProto.INT64), axis=0)
    return op.Gather(places, order), kept


def _cut_graph(  # noqa: PLR0917 - the exporter passes by place
    levels: Sequence[Value], boxes: Value, chosen: Value, strides: Sequence[int], cells: int
) -> Value:
    corner, opposite = op.Split(boxes, axis=1, num_outputs=2)
    boxes = op.Concat(corner, op.Max(opposite, op.Add(corner, SMALLEST_SIDE)), axis=1)
    cuts = []
    for index, (level, stride) in enumerate(zip(levels, strides, strict=True)):
        # Not slices: OpenVINO takes the length of a slice for that of the whole.
        places = op.Reshape(op.NonZero(op.Equal(chosen, index)), [-1])
        cuts.append(
            op.RoiAlign(
                level,
                op.Gather(boxes, places),
                op.Mul(places, 0),
                output_height=cells,
                output_width=cells,
                sampling_ratio=0,  # as many samples for a cell as it spans places
                spatial_scale=1 / stride,
                coordinate_transformation_mode="half_pixel",
                mode="avg",
            )
        )
    return op.Concat(*cuts, axis=0)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.edgevit.suppress.default: _suppress_graph,
    torch.ops.edgevit.cut.default: _cut_graph,
}
"""What PyTorch's exporter writes for each operator."""
