"""Find the values of a graph that are too large for half precision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from copy import deepcopy
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgevit.convert.fp16.links import Links
from edgevit.convert.fp16.plan import LARGEST
from edgevit.convert.session import load_graph

# Rare pictures make a value many times larger than all others: 20 to 80 times were seen in CAS-ViT.
HEADROOM = 128

ENDS = {"largest": "ReduceMax", "smallest": "ReduceMin"}


def too_large_weights(model: onnx.ModelProto) -> dict[str, float]:
    """Weights that half precision cannot hold; infinities, which it can, do not count.

    Returns:
        The largest absolute value of each by name.
    """
    found = {}
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = np.abs(numpy_helper.to_array(tensor))
            found[tensor.name] = float(values.max(initial=0, where=np.isfinite(values)))
    return {name: largest for name, largest in found.items() if largest > LARGEST}


def too_large_values(
    model: onnx.ModelProto,
    links: Links,
    nodes: Set[int],
    batches: Iterable[NDArray[np.float32]],
    settings: Mapping[str, NDArray[Any]],
) -> dict[str, float]:
    """Values of some nodes that come within a factor of `HEADROOM` of what half precision can hold.

    Args:
        model: a float32 graph.
        links: of the graph.
        nodes: their numbers.
        batches: float32 (B, 3, H, W), what the graph is run on.
        settings: the graph's further inputs.

    Returns:
        The largest absolute value of each by name; infinities, which half precision can hold, do
        not count.
    """
    named = (name for index in nodes for name in _values_of(links, index))
    made = [name for name in dict.fromkeys(named) if name in links.maker]
    run = load_graph(_measuring(model, made), settings)
    answers = [run(batch) for batch in batches]
    largest = {name: max(_size(answer, name) for answer in answers) for name in made}
    # Not "larger": a NaN is no number that is small enough.
    return {name: value for name, value in largest.items() if not value <= LARGEST / HEADROOM}


def _values_of(links: Links, index: int) -> list[str]:
    return [*links.inputs_of(index), *links.outputs_of(index)]


def _size(answer: Mapping[str, NDArray[Any]], name: str) -> float:
    """The larger of both ends of a value, without infinities; NaN where it is no number."""
    ends = np.abs([answer[f"{name}.{end}"] for end in ENDS])
    return float(ends.max(initial=0, where=~np.isinf(ends)))


def _measuring(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """The graph, which answers the ends of these values instead."""
    measuring = deepcopy(model)
    graph = measuring.graph
    del graph.output[:]
    for name in names:
        for end, reduction in ENDS.items():
            node = helper.make_node(reduction, [name], [f"{name}.{end}"], keepdims=0)
            graph.node.append(node)
            output = helper.make_tensor_value_info(f"{name}.{end}", TensorProto.FLOAT, [])
            graph.output.append(output)
    return measuring
