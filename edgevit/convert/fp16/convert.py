"""Turn a graph into one that computes in half precision where that is safe.

TensorRT 10 and later, and ONNX Runtime on GPUs, take the types of a graph as they stand. So the
graph says itself what is computed in half precision and what is not: `edgevit.convert.fp16.plan`.
Inputs and outputs stay float32. Needs onnx and ONNX Runtime, not PyTorch.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from edgevit.convert.fp16.links import add_types
from edgevit.convert.fp16.plan import half_nodes
from edgevit.convert.fp16.ranges import too_large_values, too_large_weights
from edgevit.convert.fp16.rewrite import as_rounded, write_half
from edgevit.convert.graph import quantizing_operators, save_model, to_proto
from edgevit.convert.half_weights import widen_stored_weights
from edgevit.convert.metadata import embed_spec
from edgevit.convert.reference_inputs import (
    preprocessed,
    range_batches,
    relative_difference,
    test_image,
)
from edgevit.convert.session import load_graph
from edgevit.core.model.metadata import read_metadata
from edgevit.core.model.spec import METADATA_KEY, ModelSpec
from edgevit.core.model.test_vector import Samples, TestVector
from edgevit.core.tasks.detect import ALL_MASKS
from edgevit.core.tasks.signature import GRAPH_INPUTS, Signature
from edgevit.errors import ExportError, SpecError

Batch = NDArray[np.float32]
Settings = Mapping[str, NDArray[Any]]
Progress = Callable[[str], object]

HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)

# What outputs may move by, relative to the largest; of class ids, the share that may change. More
# is no rounding.
LARGEST_DIFFERENCE = 0.05
MOST_CHANGED = 0.25

SMALLEST_TOLERANCE = 5e-3  # of the test vector


@dataclass(frozen=True, slots=True, eq=False)
class Fp16Graph:
    """A graph that computes in half precision.

    Args:
        model: the graph.
        rounded: a float32 graph that answers what a GPU does with it, which no CPU runtime shows.
        half_nodes: how many of the nodes compute in half precision.
        kept_nodes: how many would do so too if no value were too large.
        too_large: values and weights that are too large or nearly so, with the largest absolute
            value seen.
    """

    model: onnx.ModelProto
    rounded: onnx.ModelProto
    half_nodes: int
    kept_nodes: int
    too_large: Mapping[str, float]

    def notes(self) -> tuple[str, ...]:
        """What the user should know, one sentence each."""
        nodes = self.model.graph.node
        casts = sum(node.op_type == "Cast" for node in nodes)
        share = f"{self.half_nodes} of {len(nodes) - casts} nodes compute in half precision"
        first = f"{share}, between {casts} casts; the others in float32"
        if not self.too_large:
            return (first,)
        name = max(self.too_large, key=lambda name: self.too_large[name])
        return (
            first,
            f"{self.kept_nodes} of these others make or read values too large for half precision, "
            f"or nearly so: {len(self.too_large)}, of which {name!r} reaches "
            f"{self.too_large[name]:.3g}",
        )


@dataclass(frozen=True, slots=True, eq=False)
class Fp16Report:
    """What a conversion did.

    Args:
        path: the file written.
        spec: the spec embedded in it, with the answers that half precision gives.
        size_bytes: size of the file.
        differences: how far each recorded output moved on the test vector, relative to its largest
            value; of class ids, the share that changed.
        notes: what the user should know, one sentence each.
    """

    path: Path
    spec: ModelSpec
    size_bytes: int
    differences: Mapping[str, float]
    notes: tuple[str, ...]


def convert_to_fp16(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    images: Iterable[NDArray[np.uint8]] = (),
    progress: Progress = lambda step: None,
) -> Fp16Report:
    """Write a half-precision form of an exported file.

    Args:
        source: a float32 ONNX file with a spec, also one with weights stored in half precision.
        output: the file to write.
        images: uint8 (H, W, 3), BGR: further images on which values too large for half precision
            are looked for, besides the test vector, noise and extreme images.
        progress: called at the beginning of each step with what it does.

    Returns:
        What was written, and how far its answers are from those of `source`.

    Raises:
        ModelError: if `source` is no ONNX file.
        SpecError: if it carries no spec.
        ExportError: if it computes in half precision already, is quantized, or does not answer
            nearly the same in half precision; nothing is written then.
    """
    progress("reading the file")
    model, spec = _read(Path(source))
    vector = spec.test_vector
    image = test_image() if vector is None else vector.image
    batch = preprocessed(image, spec.input)
    settings = _settings(model, spec, batch)
    progress("measuring the values")
    half = fp16_graph(model, range_batches(batch, spec.input, images), settings)
    progress("comparing the answers")
    recorded = _recordable(model) if vector is None else tuple(vector.outputs)
    before, after = (load_graph(each, settings)(batch) for each in (model, half.rounded))
    differences = {name: relative_difference(before[name], after[name]) for name in recorded}
    _refuse_others(differences, before)
    answers = {name: Samples.of(after[name]) for name in recorded}
    spec = fp16_spec(spec, TestVector(image, Samples.of(batch), answers), differences)
    embed_spec(half.model, spec)
    progress(f"writing {output}")
    content = half.model.SerializeToString()
    path = Path(output)
    save_model(path, content)
    return Fp16Report(path, spec, len(content), differences, half.notes())


def fp16_graph(model: onnx.ModelProto, batches: Sequence[Batch], settings: Settings) -> Fp16Graph:
    """Choose and rewrite the nodes that can compute in half precision.

    Args:
        model: a float32 graph; it stays as it is.
        batches: float32 (B, 3, H, W), on which values too large are looked for.
        settings: the graph's further inputs.

    Raises:
        ExportError: if the graph is not of float32 alone, or of parts that cannot be converted.
    """
    made = ir.from_proto(model)
    _refuse_parts(made)
    add_types(made, onnx.shape_inference.infer_shapes(model))
    _refuse_halves(made.graph)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(made)
    wanted = half_nodes(made.graph, frozenset())
    if not wanted:
        raise ExportError("nothing in the graph can compute in half precision; keep it in float32")
    too_large = too_large_weights(made.graph)
    too_large |= too_large_values(made, wanted, batches, settings)
    chosen = half_nodes(made.graph, too_large.keys())
    write_half(made.graph, chosen)
    rounded = to_proto(as_rounded(made))
    return Fp16Graph(to_proto(made), rounded, len(chosen), len(wanted - chosen), too_large)


def fp16_spec(spec: ModelSpec, vector: TestVector, differences: Mapping[str, float]) -> ModelSpec:
    """The spec of a model in half precision.

    Args:
        spec: of the float32 model.
        vector: what the model answers in half precision.
        differences: relative, of each output to the float32 model's answer. Devices round in
            different places, each of which moves the answer about as far.
    """
    provenance = spec.provenance
    if provenance is not None:
        provenance = replace(provenance, precision="fp16")
    tolerance = max(SMALLEST_TOLERANCE, 4 * max(differences.values(), default=0.0))
    vector = replace(vector, tolerance=tolerance)
    return replace(spec, provenance=provenance, test_vector=vector)


def _read(source: Path) -> tuple[onnx.ModelProto, ModelSpec]:
    """The graph with weights in float32, and its spec."""
    text = read_metadata(source).get(METADATA_KEY)  # also says what is wrong with the file
    if text is None:
        raise SpecError(f"{str(source)!r} carries no edgevit spec; write it with `edgevit export`")
    model = ir.from_proto(onnx.load(source))
    widen_stored_weights(model)
    return to_proto(model), ModelSpec.from_json(text)


def _refuse_parts(model: ir.Model) -> None:
    kinds = ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS
    inner = [
        node.op_type
        for node in model.graph
        if any(attribute.type in kinds for attribute in node.attributes.values())
    ]
    if inner or model.functions:
        raise ExportError(
            f"a graph with {inner[0] if inner else 'functions of its own'} cannot be converted to "
            "half precision; convert one of plain operators"
        )
    if found := quantizing_operators(model):
        raise ExportError(
            f"the graph is quantized ({', '.join(found)}); convert the float32 file it was made of"
        )


def _refuse_halves(graph: ir.Graph) -> None:
    if any(value.dtype in HALVES for value in ir.convenience.create_value_mapping(graph).values()):
        raise ExportError(
            "the graph computes in half precision already; convert the float32 file it was made of"
        )


def _settings(model: onnx.ModelProto, spec: ModelSpec, batch: Batch) -> Settings:
    """The graph's inputs besides the image: all detections and masks are wanted."""
    given = tuple(entry.name for entry in model.graph.input if entry.name in GRAPH_INPUTS)
    all_wanted = {"image_size": spec.input.size, "score_threshold": 0.0, "max_masks": ALL_MASKS}
    feeds = Signature("", given, ()).feeds(batch, all_wanted)
    return {name: feeds[name] for name in given}


def _recordable(model: onnx.ModelProto) -> tuple[str, ...]:
    """Outputs that rounding does not reorder."""
    names = tuple(output.name for output in model.graph.output)
    return ("scores",) if "scores" in names else names


def _refuse_others(differences: Mapping[str, float], outputs: Mapping[str, NDArray[Any]]) -> None:
    for name, difference in differences.items():
        limit = LARGEST_DIFFERENCE if outputs[name].dtype.kind == "f" else MOST_CHANGED
        if not difference <= limit:
            raise ExportError(
                f"half precision moves {name!r} by {difference:.2g} of its largest value, more "
                f"than {limit}; keep the file in float32; `edgevit export --half-weights` halves "
                "its size"
            )
