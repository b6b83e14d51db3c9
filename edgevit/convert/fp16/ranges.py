"""Find the values of a graph that are too large for half precision."""

from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from edgevit.convert.fp16.links import FLOAT, float_inputs, float_outputs
from edgevit.convert.fp16.plan import LARGEST
from edgevit.convert.graph import array_of, name_of, to_proto
from edgevit.convert.session import load_graph

# Rare images make a value many times larger than all others: 20 to 80 times were seen in CAS-ViT.
HEADROOM = 128

ENDS = {"largest": "ReduceMax", "smallest": "ReduceMin"}


def too_large_weights(graph: ir.Graph) -> dict[str, float]:
    """Weights that half precision cannot hold; infinities, which it can, do not count.

    Returns:
        The largest absolute value of each by name.
    """
    found = {}
    for weight in graph.initializers.values():
        if weight.dtype == FLOAT:
            values = np.abs(array_of(weight))
            largest = values.max(initial=0, where=np.isfinite(values))
            found[name_of(weight)] = float(largest)
    return {name: largest for name, largest in found.items() if largest > LARGEST}


def too_large_values(
    model: ir.Model,
    nodes: Set[ir.Node],
    batches: Iterable[NDArray[np.float32]],
    settings: Mapping[str, NDArray[Any]],
) -> dict[str, float]:
    """Values of some nodes that come within a factor of `HEADROOM` of what half precision can hold.

    Args:
        model: a float32 graph whose values have types.
        nodes: of the graph.
        batches: float32 (B, 3, H, W), what the graph is run on.
        settings: the graph's further inputs.

    Returns:
        The largest absolute value of each by name; infinities, which half precision can hold, do
        not count.
    """
    ordered = (node for node in model.graph if node in nodes)
    values = (v for node in ordered for v in (*float_inputs(node), *float_outputs(node)))
    made = [name_of(v) for v in dict.fromkeys(values) if v.producer() is not None]
    run = load_graph(_measuring(model, made), settings)
    answers = [run(batch) for batch in batches]
    largest = {name: max(_size(answer, name) for answer in answers) for name in made}
    # Not "larger": a NaN is no number that is small enough.
    return {name: value for name, value in largest.items() if not value <= LARGEST / HEADROOM}


def _size(answer: Mapping[str, NDArray[Any]], name: str) -> float:
    """The larger of both ends of a value, without infinities; NaN where it is no number."""
    ends = np.abs([answer[f"{name}.{end}"] for end in ENDS])
    return float(ends.max(initial=0, where=~np.isinf(ends)))


def _measuring(model: ir.Model, names: Iterable[str]) -> onnx.ModelProto:
    """The graph, which answers the ends of these values instead."""
    measuring = model.clone()
    graph = measuring.graph
    values = ir.convenience.create_value_mapping(graph)
    graph.outputs.clear()
    for name in names:
        for end, reduction in ENDS.items():
            answer = ir.val(f"{name}.{end}", FLOAT, [])
            graph.append(ir.node(reduction, [values[name]], {"keepdims": 0}, outputs=[answer]))
            graph.outputs.append(answer)
    return to_proto(measuring)
