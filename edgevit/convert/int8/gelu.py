"""GELU as a polynomial, where a runtime computes simple operators faster than the error function.

Once convolutions are in integers, GELU's exponentials are a large part of what is left: in a
CAS-ViT-S on OpenVINO a sixth. OpenVINO compiles the polynomial's operators into one loop, with the
rounding to int8 behind it.
"""

import numpy as np
import onnx_ir as ir

from edgevit.convert.graph import add_constant, input_of, make_node, name_of

# GELU(x) = x * (1/2 + t * P(t^2)) with t = x cut to the limit on both sides; least squares,
# reweighted until the largest error was least: 0.0035, a fraction of a step of int8.
LIMIT = 3.05
COEFFICIENTS = (0.3862797, -0.0520743, 0.00442053, -0.00014964950)


def polynomial_gelus(graph: ir.Graph) -> None:
    """Replace every exact GELU of a graph, in place."""
    for node in list(graph):
        if node.op_type == "Gelu":
            steps = _polynomial(graph, node)
            ir.convenience.replace_nodes_and_values(
                graph, node, [node], steps, node.outputs, steps[-1].outputs
            )


def _polynomial(graph: ir.Graph, node: ir.Node) -> list[ir.Node]:
    x, y = input_of(node), name_of(node.outputs[0])
    steps: list[ir.Node] = []

    def add(kind: str, *inputs: ir.Value | float, output: str | None = None) -> ir.Value:
        values = [_constant(graph, i) if isinstance(i, float) else i for i in inputs]
        steps.append(make_node(kind, values, output or f"{y}.gelu{len(steps)}"))
        return steps[-1].outputs[0]

    t = add("Clip", x, -LIMIT, LIMIT)
    square = add("Mul", t, t)
    value = add("Mul", square, COEFFICIENTS[-1])
    for coefficient in COEFFICIENTS[-2:0:-1]:
        value = add("Mul", add("Add", value, coefficient), square)
    share = add("Mul", add("Add", value, COEFFICIENTS[0]), t)
    add("Mul", add("Add", share, 0.5), x, output=y)
    return steps


def _constant(graph: ir.Graph, value: float) -> ir.Value:
    return add_constant(graph, f"gelu.{value!r}", np.asarray(value, np.float32))
