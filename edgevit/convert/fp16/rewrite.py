"""Write a graph whose chosen nodes compute in half precision."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevit.convert.fp16.links import ALWAYS_FLOAT, Links
from edgevit.convert.fp16.plan import makes_floats

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


class Writer:
    """The nodes of the new graph, with a Cast where a value changes its type.

    Args:
        model: the graph, which is rewritten in place.
        links: of the graph.
        half: numbers of the nodes that compute in half precision.
    """

    def __init__(self, model: onnx.ModelProto, links: Links, half: set[int]) -> None:
        self.graph, self.links, self.half = model.graph, links, half
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, onnx.TensorProto] = {}
        self.cast: set[str] = set()  # names of what casts have made

    def write(self) -> None:
        """Replace the graph's nodes and weights."""
        for index, node in enumerate(self.links.nodes):
            self._add(index, deepcopy(node))
        floats = self.links.floats
        others = [tensor for name, tensor in self.weights.items() if name not in floats]
        del self.graph.node[:], self.graph.initializer[:], self.graph.value_info[:]
        self.graph.node.extend(self.nodes)
        self.graph.initializer.extend([*others, *self.tensors.values()])

    def _add(self, index: int, node: onnx.NodeProto) -> None:
        dtype = HALF if index in self.half else FLOAT
        fixed = ALWAYS_FLOAT.get(node.op_type, ())
        for place, name in enumerate(node.input):
            if name in self.links.floats:
                node.input[place] = self._as(name, FLOAT if place in fixed else dtype)
        if dtype == HALF and makes_floats(node):
            node.attribute[0].i = HALF
        outputs = list(node.output)
        for place, name in enumerate(outputs):
            if name in self.links.floats:
                node.output[place] = self._name(name, dtype)
        self.nodes.append(node)
        if dtype == HALF:
            for name in self.links.outputs.intersection(outputs):
                self._as(name, FLOAT)

    def _as(self, name: str, dtype: int) -> str:
        """The name of a value in this type, which is made if it is not there."""
        wanted = self._name(name, dtype)
        if name in self.weights:
            self.tensors.setdefault(wanted, self._tensor(name, wanted, dtype))
        elif dtype != self._dtype(name) and wanted not in self.cast:
            self.cast.add(wanted)
            source = self._name(name, self._dtype(name))
            self.nodes.append(helper.make_node("Cast", [source], [wanted], to=dtype))
        return wanted

    def _name(self, name: str, dtype: int) -> str:
        return f"{name}.float16" if dtype == HALF else name

    def _dtype(self, name: str) -> int:
        return HALF if self.links.maker.get(name) in self.half else FLOAT

    def _tensor(self, name: str, wanted: str, dtype: int) -> onnx.TensorProto:
        if dtype == FLOAT:
            return self.weights[name]
        values = numpy_helper.to_array(self.weights[name])
        return numpy_helper.from_array(values.astype(np.float16), wanted)


def as_rounded(model: onnx.ModelProto, types: dict[str, int]) -> onnx.ModelProto:
    """A float32 graph that answers what a device does which rounds every value to half precision.

    ONNX Runtime on the CPU computes much of a half-precision graph in float32 and leaves out the
    rounding between two nodes; OpenVINO leaves it all out. What a GPU answers cannot be seen there.
    Sums inside a product are in float32 here, as on GPUs by default.

    Args:
        model: a graph that `Writer` wrote.
        types: of its values.

    Returns:
        The graph, with the same inputs and outputs.
    """
    rounded = deepcopy(model)
    halves = {name for name, dtype in types.items() if dtype == HALF}
    del rounded.graph.node[:]
    for node in model.graph.node:
        rounded.graph.node.extend(_rounded(deepcopy(node), halves))
    for tensor in rounded.graph.initializer:
        if tensor.name in halves:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return rounded


def _rounded(node: onnx.NodeProto, halves: set[str]) -> list[onnx.NodeProto]:
    if node.op_type == "Cast" and node.input[0] in halves:
        return [helper.make_node("Identity", node.input, node.output)]
    if node.op_type == "Cast" and node.attribute[0].i == HALF:
        node.attribute[0].i = FLOAT
    made = [name for name in node.output if name in halves]
    for place, name in enumerate(node.output):
        if name in halves:
            node.output[place] = f"{name}.exact"
    pairs = [
        [
            helper.make_node("Cast", [f"{name}.exact"], [f"{name}.half"], to=HALF),
            helper.make_node("Cast", [f"{name}.half"], [name], to=FLOAT),
        ]
        for name in made
    ]
    return [node, *(cast for pair in pairs for cast in pair)]
