"""Linear layers as convolutions of 1x1.

OpenVINO multiplies integers fast in its convolutions only: on AVX2 its quantised matrix products
are slower than its float32 ones, its quantised convolutions twice as fast. ONNX Runtime is as fast
either way. What lies between two such layers, a GELU for one, is computed in their layout, so
that the runtimes can fuse it into the first and nothing is transposed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgevit.convert.int8.graph import LEAST_CHANNELS, Graph

BETWEEN = {"Gelu", "Relu", "Sigmoid"}  # of one tensor, element by element

# Below, a product gains less than the change of its layout may cost.
LEAST_MULTIPLY_ADDS = 1_000_000


def linear_layers_as_convolutions(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Rewrite large products with constant weights, in place.

    Args:
        graph: the graph.
        shapes: of the activations, by tensor.
    """
    _Rewriter(graph, shapes).rewrite()
    graph.drop_unread()


class _Rewriter:
    def __init__(self, graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.graph, self.shapes = graph, shapes
        self.chosen = graph.after_choices()
        self.nodes: list[onnx.NodeProto] = []
        self.maps: dict[str, str] = {}  # tensor of tokens -> the same as a channels-first map

    def rewrite(self) -> None:
        folded: set[str] = set()
        for node in self.graph.nodes:
            if node.name in folded:
                continue
            weight = self._weight(node)
            if weight is not None:
                bias, last = self._bias(node)
                folded.add(last.name)
                self._convolve(node, weight, bias, last.output[0])
            else:
                self._keep(node)
        self.graph.nodes = self.nodes

    def _keep(self, node: onnx.NodeProto) -> None:
        self.nodes.append(node)
        map_ = self.maps.get(node.input[0]) if node.op_type in BETWEEN else None
        if map_ is not None:
            other = onnx.NodeProto()
            other.CopyFrom(node)
            other.name = f"{node.name}.map"
            other.input[0], other.output[0] = map_, f"{node.output[0]}.map"
            self.nodes[-1] = other
            self.maps[node.output[0]] = other.output[0]
            self._tokens(node.output[0], len(self.shapes[node.output[0]]))

    def _weight(self, node: onnx.NodeProto) -> NDArray[np.float32] | None:
        """The weights (out, in) of a layer worth rewriting."""
        if node.op_type not in ("Gemm", "MatMul") or node.input[1] not in self.graph.constants:
            return None
        weight, shape = self.graph.constants[node.input[1]], self.shapes.get(node.input[0], ())
        if weight.ndim != 2 or len(shape) not in (2, 3) or min(weight.shape) < LEAST_CHANNELS:
            return None
        if node.input[0] in self.graph.constants or node.input[0] in self.chosen:
            return None
        if _attribute(node, "transA", 0):
            return None
        if np.prod(shape[:-1]) * weight.size < LEAST_MULTIPLY_ADDS:
            return None
        alpha = _attribute(node, "alpha", 1.0)
        oriented = weight if _attribute(node, "transB", 0) else weight.T
        return np.ascontiguousarray(oriented.astype(np.float32) * np.float32(alpha))

    def _bias(self, node: onnx.NodeProto) -> tuple[str | None, onnx.NodeProto]:
        """The layer's bias, and the node that answers with it added."""
        if len(node.input) > 2:
            return node.input[2], node
        consumers = self.graph.consumers(node.output[0])
        if len(consumers) == 1 and consumers[0].op_type == "Add":
            other = [name for name in consumers[0].input if name != node.output[0]]
            if other and self.graph.constants.get(other[0], np.zeros((1, 1))).ndim == 1:
                return other[0], consumers[0]
        return None, node

    def _convolve(
        self, node: onnx.NodeProto, weight: NDArray[np.float32], bias: str | None, output: str
    ) -> None:
        name = f"{node.input[1]}.1x1"
        self.graph.constants[name] = weight[:, :, None, None]
        inputs = [self._map(node.input[0]), name, *([bias] if bias else [])]
        self.maps[output] = f"{output}.map"
        self._add("Conv", inputs, self.maps[output], kernel_shape=[1, 1])
        self.nodes[-1].name = node.name
        self._tokens(output, len(self.shapes[node.input[0]]))

    def _map(self, tensor: str) -> str:
        """Take tokens (N, C) or (B, N, C) to a map (B, C, N, 1)."""
        if tensor not in self.maps:
            shape = self.shapes[tensor]
            first = 1 if len(shape) == 2 else 0  # 0: as it is
            self._reshape(tensor, f"{tensor}.rows", [first, -1, 1, shape[-1]])
            self._add("Transpose", [f"{tensor}.rows"], f"{tensor}.as_map", perm=[0, 3, 1, 2])
            self.maps[tensor] = f"{tensor}.as_map"
        return self.maps[tensor]

    def _tokens(self, tensor: str, rank: int) -> None:
        """Take a map back to tokens; a node that nobody reads is dropped in the end."""
        channels_last = f"{tensor}.last"
        self._add("Transpose", [self.maps[tensor]], channels_last, perm=[0, 2, 3, 1])
        channels = self._channels(tensor)
        self._reshape(channels_last, tensor, [-1, channels] if rank == 2 else [0, -1, channels])

    def _channels(self, tensor: str) -> int:
        return self.shapes[tensor][-1]

    def _reshape(self, source: str, target: str, shape: list[int]) -> None:
        self.graph.constants[f"{target}.shape"] = np.array(shape, np.int64)
        self._add("Reshape", [source, f"{target}.shape"], target)

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(
            helper.make_node(kind, inputs, [output], name=f"{output}.{kind}", **attributes)
        )


def _attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    found = next((entry for entry in node.attribute if entry.name == name), None)
    return default if found is None else float(helper.get_attribute_value(found))
