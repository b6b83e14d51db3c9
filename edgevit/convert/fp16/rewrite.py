"""Write a graph whose chosen nodes compute in half precision."""

from collections.abc import Set

import numpy as np
import onnx_ir as ir

from edgevit.convert.fp16.links import ALWAYS_FLOAT, FLOAT, float_outputs, of_types
from edgevit.convert.fp16.plan import makes_floats
from edgevit.convert.graph import (
    add_constant,
    array_of,
    input_of,
    make_cast,
    name_of,
    replace_readers,
)

HALF = ir.DataType.FLOAT16


def write_half(graph: ir.Graph, half: Set[ir.Node]) -> None:
    """Let nodes compute in half precision, in place, with a Cast where a value changes its type.

    Args:
        graph: a graph whose values have types.
        half: the nodes.
    """
    for node in half:
        for value in float_outputs(node):
            value.name, value.type = f"{value.name}.float16", ir.TensorType(HALF)
    writer = _Writer(graph)
    for node in list(graph):
        writer.connect(node, HALF if node in half else FLOAT)
    others = [value for value in graph.initializers.values() if value.dtype not in (FLOAT, HALF)]
    graph.initializers.clear()
    for value in (*others, *writer.weights):
        graph.initializers.add(value)


class _Writer:
    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.twins: dict[ir.Value, ir.Value] = {}  # values -> the same in the other type
        self.weights: dict[ir.Value, None] = {}  # what is read of them, in that order

    def connect(self, node: ir.Node, dtype: ir.DataType) -> None:
        """Let a node that computes in a type read values of that type."""
        for place, value in enumerate(node.inputs):
            if value is not None and value.dtype in (FLOAT, HALF):
                fixed = place in ALWAYS_FLOAT.get(node.op_type, ())
                node.replace_input_with(place, self._as(value, FLOAT if fixed else dtype, node))
        if dtype == HALF and makes_floats(node):
            node.attributes.add(ir.AttrInt64("to", HALF))
        for place, output in enumerate(self.graph.outputs):
            if output.dtype == HALF and output.producer() is node:
                cast = self._cast(output, FLOAT)
                self.graph.insert_after(node, cast)
                self.graph.outputs[place] = cast.outputs[0]

    def _as(self, value: ir.Value, dtype: ir.DataType, reader: ir.Node) -> ir.Value:
        """A value in a type, ahead of a node that reads it."""
        if value.dtype == dtype:
            found = value
        elif value in self.twins:
            found = self.twins[value]
        elif value.const_value is not None:
            halves = array_of(value).astype(np.float16)
            found = self.twins[value] = add_constant(self.graph, f"{value.name}.float16", halves)
        else:
            self.graph.insert_before(reader, self._cast(value, dtype))
            found = self.twins[value]
        if found.const_value is not None:
            self.weights[found] = None
        return found

    def _cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Node:
        name = name_of(value)
        other = f"{name}.float16" if dtype == HALF else name.removesuffix(".float16")
        cast = make_cast(value, dtype, other)
        self.twins[value] = cast.outputs[0]
        return cast


def as_rounded(model: ir.Model) -> ir.Model:
    """A float32 form of what `write_half` wrote, which rounds every value as a GPU does.

    ONNX Runtime on the CPU computes much of a half-precision graph in float32 and leaves out the
    rounding between two nodes; OpenVINO leaves it all out. What a GPU answers cannot be seen there.
    Sums inside a product are in float32 here, as on GPUs by default.
    """
    rounded = model.clone()
    graph = rounded.graph
    casts = of_types(graph, "Cast")
    wide = {node for node in casts if input_of(node).dtype == HALF}
    for node in list(graph):
        if node in wide:
            node.op_type = "Identity"
            node.attributes.clear()
        elif node in casts and node.outputs[0].dtype == HALF:
            node.attributes.add(ir.AttrInt64("to", FLOAT))
        halves = [value for value in node.outputs if value.dtype == HALF]
        graph.insert_after(node, [cast for value in halves for cast in _rounding(value)])
    for weight in graph.initializers.values():
        if weight.dtype == HALF:
            values = array_of(weight).astype(np.float32)
            weight.const_value, weight.type = ir.Tensor(values), ir.TensorType(FLOAT)
    return rounded


def _rounding(value: ir.Value) -> list[ir.Node]:
    """Casts to half precision and back, whose answer all readers of a value read instead."""
    name = name_of(value)
    value.name, value.type = f"{name}.exact", ir.TensorType(FLOAT)
    narrow = make_cast(value, HALF, f"{name}.half")
    wide = make_cast(narrow.outputs[0], FLOAT, name)
    replace_readers(value, wide.outputs[0], but=[narrow])
    return [narrow, wide]
