"""What rounding the weights moves the mean of each output by, taken back through the bias."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from edgevit.convert.int8.calibrate import Range
from edgevit.convert.int8.graph import Graph, Product
from edgevit.convert.int8.insert import quantized_weight


def correct_biases(
    graph: Graph, products: Collection[Product], ranges: Mapping[str, Range]
) -> Graph:
    """Copy a float32 graph, its biases moved against the rounding of the weights.

    Args:
        graph: the graph.
        products: layers whose weights will be rounded.
        ranges: of their inputs.

    Returns:
        The copy.

    Source:
        Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction",
        arXiv:1906.04721, with the means that calibration saw instead of a normalisation's.
    """
    made = graph.copy()
    by_name = {product.name: product for product in products}
    for node in made.nodes:
        product = by_name.get(node.name)
        if product is None:
            continue
        weight = graph.constant(product.weight)
        levels, scale = quantized_weight(weight)
        lost = (weight - levels * scale.reshape(-1, 1, 1, 1)).sum(axis=(2, 3))  # (out, in)
        moved = lost @ ranges[product.input].channel_means()
        if len(node.input) > 2:
            moved = moved + graph.constant(node.input[2])
            del node.input[2:]
        made.constants[f"{node.name}.bias"] = moved.astype(np.float32)
        node.input.append(f"{node.name}.bias")
    return made
