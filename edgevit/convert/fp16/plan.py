"""Which nodes of a graph compute in half precision.

Products do, and what follows them value by value. Everything else stays in float32: what is not
named here, and of what is named:

    - what decides something, such as a coordinate that is rounded to a place, or a score that boxes
      are chosen by; and between the cutting out of boxes and their choice the products too;
    - means, which are also written as products with a constant row;
    - what makes or reads values that are too large.
"""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from edgevit.convert.fp16.links import Links, reached

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")

# Computed in half precision where one of their inputs is in half precision.
ARITHMETIC = (
    *("Add", "Sub", "Mul", "Max", "Min", "Clip", "Where", "Neg", "Abs"),
    *("Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Gelu"),
)

# Operators that only move values, which no precision can change: they follow their input, or come
# after the Cast where all that reads them is in half precision, so that fewer bytes are moved.
MOVES = (
    *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Transpose", "Expand", "Tile"),
    *("Slice", "Split", "Concat", "Pad", "Gather", "DepthToSpace", "SpaceToDepth", "MaxPool"),
)

# Operators whose answer is not a value near the exact one but another place, class or choice.
DECISIONS = (
    *("Floor", "Ceil", "Round", "TopK", "ArgMax", "ArgMin", "NonMaxSuppression", "NonZero"),
    *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
)
NORMALISATIONS = (
    *("LayerNormalization", "InstanceNormalization", "GroupNormalization", "Softmax"),
)
CUT = "RoiAlign"  # its second input are the boxes

LARGEST = float(np.finfo(np.float16).max)


def half_nodes(model: onnx.ModelProto, links: Links, too_large: Set[str]) -> set[int]:
    """Choose the nodes that compute in half precision.

    Args:
        model: the graph.
        links: of the graph.
        too_large: names of values that are too large for half precision.

    Returns:
        Their numbers.
    """
    large = _touching(links, too_large)
    kept = large | _deciding(links) | _choosing_boxes(links) | _means(model, links)
    half = links.of_types(*PRODUCTS) - kept
    moves = {
        index for index in range(len(links.nodes)) if _moves_values(links.nodes[index])
    } - large
    arithmetic = links.of_types(*ARITHMETIC) - kept
    forwards = range(len(links.nodes))
    before = -1
    while len(half) > before:
        before = len(half)
        for order in (forwards, reversed(forwards)):
            half.update(index for index in order if _follows(index, links, half, arithmetic, moves))
    return half


def _follows(
    index: int, links: Links, half: set[int], arithmetic: set[int], moves: set[int]
) -> bool:
    if index not in arithmetic and index not in moves:
        return False
    if not half.isdisjoint(links.makers_of(index)):
        return True
    readers = links.readers_of(index)
    is_read_in_half = half.issuperset(readers) and links.outputs.isdisjoint(links.outputs_of(index))
    return index in moves and bool(readers) and is_read_in_half


def _moves_values(node: onnx.NodeProto) -> bool:
    modes = {attribute.name: attribute.s for attribute in node.attribute}
    if node.op_type == "Resize":
        return modes.get("mode", b"nearest") == b"nearest"
    return node.op_type in MOVES or makes_floats(node)


def makes_floats(node: onnx.NodeProto) -> bool:
    """Say whether a node casts whole numbers to floats, which it can do to either type."""
    return node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT


def _touching(links: Links, names: Set[str]) -> set[int]:
    return {
        index
        for index in range(len(links.nodes))
        if not names.isdisjoint([*links.inputs_of(index), *links.outputs_of(index)])
    }


def _deciding(links: Links) -> set[int]:
    """What leads to a decision from the last product or normalisation before it."""
    stops = links.of_types(*PRODUCTS, *NORMALISATIONS, CUT)
    return reached(_decisions(links), links.makers_of, stops)


def _decisions(links: Links) -> set[int]:
    """Decisions, and what makes the boxes that are cut out."""
    casts = links.of_types("Cast")
    boxes = [links.nodes[index].input[1] for index in links.of_types(CUT)]
    return (
        links.of_types(*DECISIONS)
        | {index for index in casts if not links.outputs_of(index)}
        | {links.maker[name] for name in boxes if name in links.maker}
    )


def _choosing_boxes(links: Links) -> set[int]:
    """What leads from boxes cut out to a decision: the head that scores and moves them."""
    cuts = links.of_types(CUT)
    return reached(_decisions(links), links.makers_of, cuts) & reached(
        cuts, links.readers_of, set()
    )


def _means(model: onnx.ModelProto, links: Links) -> set[int]:
    """Products with a constant whose values are all the same."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    return {
        index
        for index in links.of_types("MatMul")
        for name in links.inputs_of(index)
        if name in weights and _is_uniform(numpy_helper.to_array(weights[name]))
    }


def _is_uniform(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bool:
    return values.size > 1 and bool(np.ptp(values) == 0)
