"""Linear layers as convolutions of 1x1.

OpenVINO multiplies integers fast in its convolutions only: on AVX2 its quantized matrix products
are slower than its float32 ones, its quantized convolutions twice as fast. ONNX Runtime is as fast
either way. What lies between two such layers, a GELU for one, is computed in their layout, so
that the runtimes can fuse it into the first and nothing is transposed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgevit.convert.graph import add_constant, constant_of, input_of, make_node, name_of
from edgevit.convert.int8.graph import LEAST_CHANNELS, after_choices

BETWEEN = {"Gelu", "Relu", "Sigmoid"}  # of one tensor, element by element

# Below, a product gains less than the change of its layout may cost.
LEAST_MULTIPLY_ADDS = 1_000_000


def linear_layers_as_convolutions(model: ir.Model, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Rewrite large products with constant weights, in place.

    Args:
        model: the graph.
        shapes: of the activations, by tensor.
    """
    _Rewriter(model, shapes).rewrite()
    RemoveUnusedNodesPass()(model)


class _Rewriter:
    def __init__(self, model: ir.Model, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.graph, self.shapes = model.graph, shapes
        self.chosen = after_choices(model)
        self.made: list[ir.Node] = []  # instead of the node that is being looked at
        self.maps: dict[ir.Value, ir.Value] = {}  # tokens -> the same as a channels-first map

    def rewrite(self) -> None:
        for node in list(self.graph):
            weight = self._weight(node)
            if weight is not None:
                bias, last = _bias(node)
                self._convolve(node, weight, bias, last)
            elif node.op_type in BETWEEN and input_of(node) in self.maps:
                self._repeat(node, self.maps[input_of(node)])

    def _weight(self, node: ir.Node) -> NDArray[np.float32] | None:
        """The weights (out, in) of a layer worth rewriting."""
        if node.op_type not in ("Gemm", "MatMul"):
            return None
        tokens, weight = input_of(node), constant_of(node.inputs[1])
        if weight is None or tokens in self.chosen:
            return None
        shape = self.shapes.get(name_of(tokens), ())  # of weights no shape is known
        if weight.ndim != 2 or len(shape) not in (2, 3) or min(weight.shape) < LEAST_CHANNELS:
            return None
        if node.attributes.get_int("transA", 0):
            return None
        if np.prod(shape[:-1]) * weight.size < LEAST_MULTIPLY_ADDS:
            return None
        alpha = node.attributes.get_float("alpha", 1.0)
        oriented = weight if node.attributes.get_int("transB", 0) else weight.T
        return np.ascontiguousarray(oriented.astype(np.float32) * np.float32(alpha))

    def _convolve(
        self, node: ir.Node, weight: NDArray[np.float32], bias: ir.Value | None, last: ir.Node
    ) -> None:
        tokens, given = input_of(node), input_of(node, 1)
        kernel = add_constant(self.graph, f"{given.name}.1x1", weight[:, :, None, None])
        inputs = [self._map(tokens), kernel, *([] if bias is None else [bias])]
        made = self._add("Conv", inputs, f"{last.outputs[0].name}.map", kernel_shape=[1, 1])
        self.made[-1].name = node.name
        self._replace(
            [node] if last is node else [node, last], made, len(self.shapes[name_of(tokens)])
        )

    def _repeat(self, node: ir.Node, tokens: ir.Value) -> None:
        """Compute a node on the map instead of the tokens."""
        made = self._add(node.op_type, [tokens], f"{node.outputs[0].name}.map", **node.attributes)
        self.made[-1].name = f"{node.name}.map"
        self._replace([node], made, len(self.shapes[name_of(node.outputs[0])]))

    def _map(self, tokens: ir.Value) -> ir.Value:
        """Take tokens (N, C) or (B, N, C) to a map (B, C, N, 1)."""
        if tokens not in self.maps:
            name, shape = name_of(tokens), self.shapes[name_of(tokens)]
            first = 1 if len(shape) == 2 else 0  # 0: as it is
            rows = self._reshape(tokens, f"{name}.rows", [first, -1, 1, shape[-1]])
            self.maps[tokens] = self._add("Transpose", [rows], f"{name}.as_map", perm=[0, 3, 1, 2])
        return self.maps[tokens]

    def _replace(self, nodes: Sequence[ir.Node], made: ir.Value, rank: int) -> None:
        """Take a map back to the tokens that nodes made, and put it in their place.

        What nobody reads is dropped in the end.
        """
        old = nodes[-1].outputs[0]
        name = name_of(old)
        channels = self.shapes[name][-1]
        last = self._add("Transpose", [made], f"{name}.last", perm=[0, 2, 3, 1])
        shape = [-1, channels] if rank == 2 else [0, -1, channels]
        tokens = self._reshape(last, name, shape)
        self.maps[tokens] = made
        ir.convenience.replace_nodes_and_values(
            self.graph, nodes[0], nodes, self.made, [old], [tokens]
        )
        self.made = []

    def _reshape(self, source: ir.Value, target: str, shape: list[int]) -> ir.Value:
        wanted = add_constant(self.graph, f"{target}.shape", np.array(shape, np.int64))
        return self._add("Reshape", [source, wanted], target)

    def _add(self, kind: str, inputs: list[ir.Value], output: str, **attributes: Any) -> ir.Value:
        self.made.append(make_node(kind, inputs, output, **attributes))
        return self.made[-1].outputs[0]


def _bias(node: ir.Node) -> tuple[ir.Value | None, ir.Node]:
    """The bias of a layer, and the node that answers with it added."""
    if len(node.inputs) > 2:
        return node.inputs[2], node
    uses = [] if node.outputs[0].is_graph_output() else list(node.outputs[0].uses())
    if len(uses) == 1 and uses[0].node.op_type == "Add":
        other = uses[0].node.inputs[1 - uses[0].idx]
        bias = constant_of(other)
        if bias is not None and bias.ndim == 1:
            return other, uses[0].node
    return None, node
