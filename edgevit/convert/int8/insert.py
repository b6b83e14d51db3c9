"""QuantizeLinear and DequantizeLinear, the form that every runtime turns into integer kernels.

Activations are int8 with zero point 0, weights int8 with a scale for each output channel: what
TensorRT asks for. ONNX Runtime and OpenVINO were as fast with it as with uint8 activations.
Weights take 7 bits: processors with AVX2 and no VNNI add two products of 8 by 8 bits in 16, which
overflows for greater ones, silently.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgevit.convert.int8.graph import Array, Graph, Product

ACTIVATION_LIMIT = 127
WEIGHT_LIMIT = 64  # 2 * 255 * 64 is below 2^15; activations are shifted to 0..255 in those kernels
SMALLEST_SCALE = 1e-8


def insert_qdq(
    graph: Graph,
    products: Collection[Product],
    thresholds: Mapping[str, float],
    *,
    outputs: Collection[str] = (),
) -> Graph:
    """Copy a graph, some of its products between quantised tensors.

    Args:
        graph: the float32 graph.
        products: those to compute in integers.
        thresholds: of the activations, by tensor: the magnitude that becomes 127.
        outputs: tensors that are quantised for all who read them.

    Returns:
        The copy; the tensors keep their names.
    """
    made = graph.copy()
    inserter = _Inserter(made, thresholds)
    chosen = {product.name for product in products}
    twins: dict[str, str] = {}
    for node in made.nodes:
        if node.name in chosen:
            inserter.quantize_weight(node)
            twins[node.input[0]] = inserter.quantized(node.input[0])
            node.input[0] = twins[node.input[0]]
        node.input[:] = [twins[name] if name in outputs else name for name in node.input]
        inserter.nodes.append(node)
        for tensor in set(node.output) & set(outputs):
            twins[tensor] = inserter.quantized(tensor)
    made.nodes = inserter.nodes
    made.drop_unread()
    return made


def quantized_weight(weight: Array) -> tuple[NDArray[np.int8], Array]:
    """Round weights to 7 bits.

    Args:
        weight: (out, ...).

    Returns:
        int8 of the same shape, and the scale of each output channel, (out,).
    """
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.maximum(largest / WEIGHT_LIMIT, SMALLEST_SCALE).astype(np.float32)
    levels = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    return np.clip(levels, -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8), scale


class _Inserter:
    def __init__(self, graph: Graph, thresholds: Mapping[str, float]) -> None:
        self.graph, self.thresholds = graph, thresholds
        self.nodes: list[onnx.NodeProto] = []
        self.done: dict[str, str] = {}  # tensor -> its quantised twin

    def quantized(self, tensor: str) -> str:
        """The tensor after QuantizeLinear and DequantizeLinear; one pair for all its readers."""
        if tensor not in self.done:
            scale, zero = f"{tensor}.scale", f"{tensor}.zero_point"
            step = self.thresholds[tensor] / ACTIVATION_LIMIT
            self.graph.constants[scale] = np.asarray(max(step, SMALLEST_SCALE), np.float32)
            self.graph.constants[zero] = np.zeros((), np.int8)
            self._add("QuantizeLinear", [tensor, scale, zero], f"{tensor}.int8")
            self._add("DequantizeLinear", [f"{tensor}.int8", scale, zero], f"{tensor}.quantized")
            self.done[tensor] = f"{tensor}.quantized"
        return self.done[tensor]

    def quantize_weight(self, node: onnx.NodeProto) -> None:
        name = node.input[1]
        if f"{name}.int8" not in self.graph.constants:
            levels, scale = quantized_weight(self.graph.constant(name))
            self.graph.constants[f"{name}.int8"] = levels
            self.graph.constants[f"{name}.scale"] = scale
            self.graph.constants[f"{name}.zero_point"] = np.zeros(len(scale), np.int8)
        parts = [f"{name}.{part}" for part in ("int8", "scale", "zero_point")]
        self._add("DequantizeLinear", parts, f"{node.name}.weight", axis=0)
        node.input[1] = f"{node.name}.weight"

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(
            helper.make_node(kind, inputs, [output], name=f"{output}.{kind}", **attributes)
        )
