"""The forms that a verified graph can be written in: what it computes in, and how weights lie."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from torch import nn

from edgevit.convert.fp16.convert import fp16_graph, fp16_spec
from edgevit.convert.graph import to_proto
from edgevit.convert.half_weights import store_in_half_precision
from edgevit.convert.reference_inputs import range_batches, relative_difference
from edgevit.convert.session import load_graph
from edgevit.core.model.spec import ModelSpec
from edgevit.core.model.test_vector import Samples, TestVector
from edgevit.export.heads.base import GraphHead, Outputs
from edgevit.export.verify import HALF, answer_and_difference

Batch = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Verified:
    """A float32 graph that computes its module.

    Args:
        model: the graph, traced from the module.
        module: the deploy form that was traced, in eval mode.
        graph_head: how the graph ends.
        image: uint8 (H, W, 3), BGR, of the test vector.
        batch: the image preprocessed, float32 (1, 3, height, width).
        outputs: what the graph answers for it.
    """

    model: onnx.ModelProto
    module: nn.Module
    graph_head: GraphHead
    image: NDArray[np.uint8]
    batch: Batch
    outputs: Outputs

    def vector(self, outputs: Outputs) -> TestVector:
        """The test vector of a graph with these outputs."""
        recorded = {key: Samples.of(outputs[key]) for key in self.graph_head.recorded}
        return TestVector(self.image, Samples.of(self.batch), recorded)


@dataclass(frozen=True, slots=True, eq=False)
class StoredGraph:
    """What is written to the file.

    Args:
        model: the graph, in the precision of the form.
        spec: the spec, whose test vector holds what this graph answers.
        notes: what the user should know, one sentence each.
    """

    model: onnx.ModelProto
    spec: ModelSpec
    notes: tuple[str, ...] = field(default=())


def in_float(verified: Verified, spec: ModelSpec) -> StoredGraph:
    """Keep the graph in float32, and record its own outputs in the spec."""
    return StoredGraph(verified.model, spec.with_test_vector(verified.vector(verified.outputs)))


def with_half_weights(verified: Verified, spec: ModelSpec) -> StoredGraph:
    """Store a graph's weights in half precision.

    Raises:
        ExportError: if a weight is too large for half precision.
    """
    stored = ir.from_proto(verified.model)
    store_in_half_precision(stored)
    model = to_proto(stored)
    outputs = load_graph(model, verified.graph_head.settings)(verified.batch)
    spec = spec.with_test_vector(verified.vector(outputs))
    return StoredGraph(model, spec, _moved(verified, outputs))


def in_half(verified: Verified, spec: ModelSpec) -> StoredGraph:
    """Compute in half precision where that is safe.

    Raises:
        ExportError: if that changes what the graph answers.
    """
    batch, graph_head = verified.batch, verified.graph_head
    half = fp16_graph(verified.model, range_batches(batch, spec.input), graph_head.settings)
    outputs, _ = answer_and_difference(
        half.rounded, verified.module, graph_head, batch, rounding=HALF
    )
    differences = {
        name: relative_difference(verified.outputs[name], outputs[name])
        for name in graph_head.recorded
    }
    spec = fp16_spec(spec, verified.vector(outputs), differences)
    return StoredGraph(half.model, spec, (*half.notes(), *_moved(verified, outputs)))


FORMS: Mapping[str, Callable[[Verified, ModelSpec], StoredGraph]] = {
    "fp32": in_float,
    "fp16": in_half,
    "half_weights": with_half_weights,
}


def _moved(verified: Verified, outputs: Outputs) -> tuple[str, ...]:
    """How far the recorded outputs are from those of the float32 graph."""
    return tuple(
        _distance(name, verified.outputs[name], outputs[name])
        for name in verified.graph_head.recorded
    )


def _distance(name: str, before: NDArray[Any], after: NDArray[Any]) -> str:
    if before.dtype.kind in "iu":
        return f"half precision changed {np.mean(before != after):.1%} of the {name!r}"
    errors = np.abs(after.astype(np.float64) - before)
    return (
        f"half precision moved {name!r} by at most {errors.max():.1e}, "
        f"{errors.max() / before.std():.2%} of their standard deviation"
    )
