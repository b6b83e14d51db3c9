"""Which nodes of a graph compute in half precision.

Products do, and what follows them value by value. Everything else stays in float32: what is not
named here, and of what is named:

    - what decides something, such as a coordinate that is rounded to a place, or a score that boxes
      are chosen by; and between the cutting out of boxes and their choice the products too;
    - means, which are also written as products with a constant row;
    - what makes or reads values that are too large.

The nodes in half precision are the smallest set H with which all of this holds:

    kept        nodes of the list above, found first: from each decision the graph is walked
                upwards until a product or a normalization, which is itself not kept for it
    products    a product that is not kept is in H
    arithmetic  such a node that is not kept is in H if a node of H makes one of its inputs
    moves       a node that only moves values, kept or not, but for those too large, is in H if a
                node of H makes one of its inputs, or if all nodes that read it are in H, there
                are some, and it makes no output of the graph

H starts as the products and grows by passes over the nodes, forwards and backwards in turn, until
a pair of passes adds nothing. Membership only ever makes more nodes follow, so H does not depend on
the order of the passes; a chain in the order of the graph needs a single one.
"""

from collections.abc import Set

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgevit.convert.fp16 import links
from edgevit.convert.graph import constant_of

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
NORMALIZATIONS = (
    *("LayerNormalization", "InstanceNormalization", "GroupNormalization", "Softmax"),
)
CUT = "RoiAlign"  # its second input are the boxes

LARGEST = float(np.finfo(np.float16).max)


def half_nodes(graph: ir.Graph, too_large: Set[str]) -> set[ir.Node]:
    """Choose the nodes that compute in half precision.

    Args:
        graph: a graph whose values have types.
        too_large: names of values that are too large for half precision.
    """
    large = {node for node in graph if not too_large.isdisjoint(_names_around(node))}
    kept = large | _deciding(graph) | _choosing_boxes(graph) | _means(graph)
    half = links.of_types(graph, *PRODUCTS) - kept
    moves = {node for node in graph if _moves_values(node)} - large
    arithmetic = links.of_types(graph, *ARITHMETIC) - kept
    before = -1
    while len(half) > before:
        before = len(half)
        for order in (graph, reversed(graph)):
            half.update(node for node in order if _follows(node, half, arithmetic, moves))
    return half


def makes_floats(node: ir.Node) -> bool:
    """Say whether a node casts whole numbers to floats, which it can do to either type."""
    return node.op_type == "Cast" and node.attributes["to"].as_int() == links.FLOAT


def _follows(
    node: ir.Node, half: Set[ir.Node], arithmetic: Set[ir.Node], moves: Set[ir.Node]
) -> bool:
    if node not in arithmetic and node not in moves:
        return False
    if not half.isdisjoint(links.makers_of(node)):
        return True
    readers = links.readers_of(node)
    is_output = any(value.is_graph_output() for value in links.float_outputs(node))
    return node in moves and bool(readers) and half >= set(readers) and not is_output


def _moves_values(node: ir.Node) -> bool:
    if node.op_type == "Resize":
        return node.attributes.get_string("mode", "nearest") == "nearest"
    return node.op_type in MOVES or makes_floats(node)


def _names_around(node: ir.Node) -> set[str | None]:
    return {value.name for value in (*links.float_inputs(node), *links.float_outputs(node))}


def _deciding(graph: ir.Graph) -> set[ir.Node]:
    """What leads to a decision from the last product or normalization before it."""
    stops = links.of_types(graph, *PRODUCTS, *NORMALIZATIONS, CUT)
    return links.reached(_decisions(graph), links.makers_of, stops)


def _decisions(graph: ir.Graph) -> set[ir.Node]:
    """Decisions, and what makes the boxes that are cut out."""
    boxes = (node.inputs[1] for node in links.of_types(graph, CUT))
    makers = {value.producer() for value in boxes if value is not None}
    return (
        links.of_types(graph, *DECISIONS)
        | {node for node in links.of_types(graph, "Cast") if not links.float_outputs(node)}
        | {maker for maker in makers if maker is not None}
    )


def _choosing_boxes(graph: ir.Graph) -> set[ir.Node]:
    """What leads from boxes cut out to a decision: the head that scores and moves them."""
    cuts = links.of_types(graph, CUT)
    before = links.reached(_decisions(graph), links.makers_of, cuts)
    return before & links.reached(cuts, links.readers_of, set())


def _means(graph: ir.Graph) -> set[ir.Node]:
    """Products with a constant whose values are all the same."""
    return {
        node
        for node in links.of_types(graph, "MatMul")
        if any(_is_uniform(constant_of(value)) for value in links.float_inputs(node))
    }


def _is_uniform(values: NDArray[np.float32] | None) -> bool:
    return values is not None and values.size > 1 and bool(np.ptp(values) == 0)
