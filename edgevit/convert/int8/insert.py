"""QuantizeLinear and DequantizeLinear, the form that every runtime turns into integer kernels.

Activations are int8 with zero point 0, weights int8 with a scale for each output channel: what
TensorRT asks for. ONNX Runtime and OpenVINO were as fast with it as with uint8 activations.
Weights take 7 bits: processors with AVX2 and no VNNI add two products of 8 by 8 bits in 16, which
overflows for greater ones, silently.
"""

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgevit.convert.graph import (
    add_constant,
    array_of,
    input_of,
    make_node,
    name_of,
    replace_readers,
)
from edgevit.convert.int8.graph import Array, Product

ACTIVATION_LIMIT = 127
WEIGHT_LIMIT = 64  # 2 * 255 * 64 is below 2^15; activations are shifted to 0..255 in those kernels
SMALLEST_SCALE = 1e-8


def insert_qdq(
    model: ir.Model,
    products: Collection[Product],
    thresholds: Mapping[str, float],
    *,
    outputs: Collection[str] = (),
) -> ir.Model:
    """Copy a graph, some of its products between quantized tensors.

    Args:
        model: the float32 graph.
        products: those to compute in integers.
        thresholds: of the activations, by tensor: the magnitude that becomes 127.
        outputs: tensors that are quantized for all who read them.

    Returns:
        The copy; the tensors keep their names.
    """
    made = model.clone()
    inserter = _Inserter(made.graph, thresholds)
    chosen = {product.name for product in products}
    for node in list(made.graph):
        if node.name in chosen:
            inserter.quantize_weight(node)
            inserter.quantize_input(node)
        for value in node.outputs:
            if value.name in outputs:
                inserter.quantize_output(node, value)
    RemoveUnusedNodesPass()(made)
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
    def __init__(self, graph: ir.Graph, thresholds: Mapping[str, float]) -> None:
        self.graph, self.thresholds = graph, thresholds
        self.twins: dict[ir.Value, ir.Value] = {}  # of values, and of themselves, quantized

    def quantize_weight(self, node: ir.Node) -> None:
        weight = input_of(node, 1)
        levels, scale = quantized_weight(array_of(weight))
        parts = (("int8", levels), ("scale", scale), ("zero_point", np.zeros(len(scale), np.int8)))
        values = [add_constant(self.graph, f"{weight.name}.{part}", made) for part, made in parts]
        restored = make_node("DequantizeLinear", values, f"{node.name}.weight", axis=0)
        self.graph.insert_before(node, restored)
        node.replace_input_with(1, restored.outputs[0])

    def quantize_input(self, node: ir.Node) -> None:
        """Let a node read its input quantized; all nodes share what is made for the first."""
        value = input_of(node)
        if value not in self.twins:
            self.graph.insert_before(node, self._quantized(value))
        node.replace_input_with(0, self.twins[value])

    def quantize_output(self, node: ir.Node, value: ir.Value) -> None:
        """Let all readers of what a node makes read it quantized."""
        pair = self._quantized(value)
        replace_readers(value, self.twins[value], but=pair)
        self.graph.insert_after(node, pair)

    def _quantized(self, value: ir.Value) -> list[ir.Node]:
        name = name_of(value)
        step = max(self.thresholds[name] / ACTIVATION_LIMIT, SMALLEST_SCALE)
        scale = add_constant(self.graph, f"{name}.scale", np.asarray(step, np.float32))
        zero = add_constant(self.graph, f"{name}.zero_point", np.zeros((), np.int8))
        rounded = make_node("QuantizeLinear", [value, scale, zero], f"{name}.int8")
        restored = make_node(
            "DequantizeLinear", [rounded.outputs[0], scale, zero], f"{name}.quantized"
        )
        twin = restored.outputs[0]
        self.twins[value] = self.twins[twin] = twin
        return [rounded, restored]
