"""Normalised tokens with a batch axis, so that OpenVINO rounds them as it normalises them.

It fuses a rounding with the normalisation before it where tensors have three axes, and runs both on
their own where they have two, as LightViT's tokens do.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from edgevit.convert.int8.graph import Graph


def norms_with_batch_axis(graph: Graph) -> None:
    """Normalise (1, N, C) instead of (N, C) where a convolution takes the result, in place."""
    readers = {node.input[0]: node for node in graph.nodes if _is_map_of_tokens(graph, node)}
    nodes: list[onnx.NodeProto] = []
    for node in graph.nodes:
        reader = readers.get(node.output[0])
        if node.op_type == "LayerNormalization" and reader is not None:
            nodes += _with_batch_axis(graph, node)
            reader.input[0] = node.output[0]
        else:
            nodes.append(node)
    graph.nodes = nodes


def _is_map_of_tokens(graph: Graph, node: onnx.NodeProto) -> bool:
    """Whether a node takes tokens (N, C) to (1, N, 1, C), as `pointwise` writes it."""
    if node.op_type != "Reshape" or node.input[1] not in graph.constants:
        return False
    shape = graph.constants[node.input[1]].tolist()
    return len(shape) == 4 and shape[:3] == [1, -1, 1]


def _with_batch_axis(graph: Graph, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    x, y = node.input[0], node.output[0]
    channels = graph.constants[node.input[1]].size
    graph.constants[f"{y}.three"] = np.array([1, -1, channels], np.int64)
    graph.constants[f"{y}.two"] = np.array([-1, channels], np.int64)
    before, after = f"{y}.before", f"{y}.batched"
    node.input[0], node.output[0] = before, after
    return [
        helper.make_node("Reshape", [x, f"{y}.three"], [before], name=f"{before}.Reshape"),
        node,
        helper.make_node("Reshape", [after, f"{y}.two"], [y], name=f"{y}.Reshape"),
    ]
