"""GELU as a polynomial, where a runtime computes simple operators faster than the error function.

Once convolutions are in integers, GELU's exponentials are a large part of what is left: in a
CAS-ViT-S on OpenVINO a sixth. OpenVINO compiles the polynomial's operators into one loop, with the
rounding to int8 behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from edgevit.convert.int8.graph import Graph

# GELU(x) = x * (1/2 + t * P(t^2)) with t = x cut to the limit on both sides; least squares,
# reweighted until the largest error was least: 0.0035, a fraction of a step of int8.
LIMIT = 3.05
COEFFICIENTS = (0.3862797, -0.0520743, 0.00442053, -0.00014964950)


def polynomial_gelus(graph: Graph) -> None:
    """Replace every exact GELU of a graph, in place."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.nodes:
        nodes.extend(_polynomial(graph, node) if node.op_type == "Gelu" else [node])
    graph.nodes = nodes


def _polynomial(graph: Graph, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    x, y = node.input[0], node.output[0]
    steps: list[onnx.NodeProto] = []

    def add(kind: str, inputs: Sequence[str | float], output: str | None = None) -> str:
        name = output or f"{y}.gelu{len(steps)}"
        tensors = [_constant(graph, i) if isinstance(i, float) else i for i in inputs]
        steps.append(helper.make_node(kind, tensors, [name], name=f"{name}.{kind}"))
        return name

    t = add("Clip", [x, -LIMIT, LIMIT])
    square = add("Mul", [t, t])
    value = add("Mul", [square, COEFFICIENTS[-1]])
    for coefficient in COEFFICIENTS[-2:0:-1]:
        value = add("Mul", [add("Add", [value, coefficient]), square])
    share = add("Mul", [add("Add", [value, COEFFICIENTS[0]]), t])
    add("Mul", [add("Add", [share, 0.5]), x], y)
    return steps


def _constant(graph: Graph, value: float) -> str:
    name = f"gelu.{value!r}"
    graph.constants[name] = np.asarray(value, np.float32)
    return name
