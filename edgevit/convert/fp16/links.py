"""Who makes and who reads the float values of a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from edgevit.errors import ExportError

# Inputs of an operator that are float32 whatever its data are.
ALWAYS_FLOAT = {"Resize": (1, 2)}


@dataclass(frozen=True, slots=True)
class Links:
    """The float32 values of a graph and its nodes, which are numbered in their order.

    Args:
        nodes: the graph's nodes.
        floats: names of its float32 values, weights included.
        maker: the node that makes a value; inputs and weights have none.
        readers: the nodes that read a float32 value as their data.
        outputs: names of the graph's outputs.
    """

    nodes: tuple[onnx.NodeProto, ...]
    floats: frozenset[str]
    maker: dict[str, int]
    readers: dict[str, list[int]]
    outputs: frozenset[str]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> Links:
        """Look at a graph that has no graphs inside.

        Raises:
            ExportError: if the type of a value is not known.
        """
        nodes, types = tuple(model.graph.node), value_types(model)
        floats = frozenset(name for name, found in types.items() if found == TensorProto.FLOAT)
        readers: dict[str, list[int]] = {name: [] for name in floats}
        for index, node in enumerate(nodes):
            for name in data_inputs(node):
                if name in floats:
                    readers[name].append(index)
        return cls(
            nodes,
            floats,
            {name: index for index, node in enumerate(nodes) for name in node.output},
            readers,
            frozenset(output.name for output in model.graph.output),
        )

    def inputs_of(self, index: int) -> list[str]:
        """Float values that a node reads."""
        return [name for name in data_inputs(self.nodes[index]) if name in self.floats]

    def outputs_of(self, index: int) -> list[str]:
        """Float values that a node makes."""
        return [name for name in self.nodes[index].output if name in self.floats]

    def makers_of(self, index: int) -> list[int]:
        """Nodes whose float values a node reads."""
        return [self.maker[name] for name in self.inputs_of(index) if name in self.maker]

    def readers_of(self, index: int) -> list[int]:
        """Nodes that read float values which a node makes."""
        return [reader for name in self.outputs_of(index) for reader in self.readers[name]]

    def of_types(self, *kinds: str) -> set[int]:
        """Nodes of these operators."""
        return {index for index, node in enumerate(self.nodes) if node.op_type in kinds}


def data_inputs(node: onnx.NodeProto) -> list[str]:
    """Names of a node's inputs that have the type of its data, where they are floats."""
    others = ALWAYS_FLOAT.get(node.op_type, ())
    return [name for place, name in enumerate(node.input) if name and place not in others]


def reached(
    starts: Iterable[int], step: Callable[[int], Iterable[int]], stops: set[int]
) -> set[int]:
    """Nodes that steps from `starts` lead to, without those in `stops` and what is behind them."""
    found: set[int] = set()
    ahead = list(starts)
    while ahead:
        index = ahead.pop()
        if index not in found and index not in stops:
            found.add(index)
            ahead.extend(step(index))
    return found


def value_types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every value of a graph, as `onnx.TensorProto` numbers them.

    Raises:
        ExportError: if one is not known.
    """
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for values in (graph.input, graph.value_info, graph.output):
        types |= {value.name: value.type.tensor_type.elem_type for value in values}
    for node in graph.node:
        for name in node.output:
            if name and not types.get(name):
                raise ExportError(
                    f"the type of {name!r}, which a node {node.op_type} makes, is not known; only "
                    "graphs of standard operators can be converted to half precision"
                )
    return types
