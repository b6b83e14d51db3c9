"""Normalized tokens with a batch axis, so that OpenVINO rounds them as it normalizes them.

It fuses a rounding with the normalization before it where tensors have three axes, and runs both on
their own where they have two, as LightViT's tokens do.
"""

import numpy as np
import onnx_ir as ir

from edgevit.convert.graph import (
    add_constant,
    array_of,
    constant_of,
    input_of,
    make_node,
    name_of,
    replace_readers,
)


def norms_with_batch_axis(graph: ir.Graph) -> None:
    """Normalize (1, N, C) instead of (N, C) where a convolution takes the result, in place."""
    for node in list(graph):
        if node.op_type == "LayerNormalization":
            readers = [each for each in node.outputs[0].consumers() if _is_map_of_tokens(each)]
            if readers:
                _add_batch_axis(graph, node, readers)


def _is_map_of_tokens(node: ir.Node) -> bool:
    """Whether a node takes tokens (N, C) to (1, N, 1, C), as `pointwise` writes it."""
    shape = constant_of(node.inputs[1]) if node.op_type == "Reshape" else None
    return shape is not None and len(shape) == 4 and shape[:3].tolist() == [1, -1, 1]


def _add_batch_axis(graph: ir.Graph, node: ir.Node, readers: list[ir.Node]) -> None:
    x, y = input_of(node), node.outputs[0]
    name, channels = name_of(y), array_of(input_of(node, 1)).size
    three = add_constant(graph, f"{name}.three", np.array([1, -1, channels], np.int64))
    two = add_constant(graph, f"{name}.two", np.array([-1, channels], np.int64))
    before = make_node("Reshape", [x, three], f"{name}.before")
    graph.insert_before(node, before)
    node.replace_input_with(0, before.outputs[0])
    after = make_node("Reshape", [y, two], name)
    graph.insert_after(node, after)
    y.name = f"{name}.batched"
    replace_readers(y, after.outputs[0], but=[after, *readers])
