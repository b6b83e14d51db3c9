"""What rounding the weights moves the mean of each output by, taken back through the bias."""

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir

from edgevit.convert.graph import add_constant, array_of, present
from edgevit.convert.int8.calibrate import Range
from edgevit.convert.int8.graph import Product
from edgevit.convert.int8.insert import quantized_weight


def correct_biases(
    model: ir.Model, products: Collection[Product], ranges: Mapping[str, Range]
) -> ir.Model:
    """Copy a float32 graph, its biases moved against the rounding of the weights.

    Args:
        model: the graph.
        products: layers whose weights will be rounded.
        ranges: of their inputs.

    Returns:
        The copy.

    Source:
        Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction",
        arXiv:1906.04721, with the means that calibration saw instead of a normalization's.
    """
    made = model.clone()
    by_name = {product.name: product for product in products}
    for node in made.graph:
        product = by_name.get(node.name or "")
        if product is None:
            continue
        weight, *bias = (array_of(value) for value in present(node.inputs)[1:])
        levels, scale = quantized_weight(weight)
        lost = (weight - levels * scale.reshape(-1, 1, 1, 1)).sum(axis=(2, 3))  # (out, in)
        moved = lost @ ranges[product.input].channel_means() + sum(bias)
        corrected = add_constant(made.graph, f"{node.name}.bias", moved.astype(np.float32))
        node.resize_inputs(3)
        node.replace_input_with(2, corrected)
    return made
