"""Write one self-describing ONNX file from a checkpoint, and prove that it computes the module."""

from __future__ import annotations

import gc
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from edgevit import __version__
from edgevit.core.cache import write_atomically
from edgevit.core.errors import ExportError, ModelError
from edgevit.core.onnx_file import MULTIPLY_ADDS_KEY
from edgevit.core.preprocess import Preprocessor
from edgevit.core.spec import (
    METADATA_KEY,
    InputSpec,
    ModelSpec,
    Provenance,
    Samples,
    TestVector,
)
from edgevit.export.checkpoint import (
    Checkpoint,
    Weights,
    load_strictly,
    num_classes_in,
    read_checkpoint,
)
from edgevit.export.class_names import default_class_names, read_class_names
from edgevit.export.deploy import deploy
from edgevit.export.half import store_in_half_precision
from edgevit.export.operations import multiply_adds
from edgevit.export.verify import INPUT, OUTPUT, answer_and_difference, load_graph
from edgevit.models.variants import VARIANTS, find_variant

# The first opset with Gelu as one operator; ONNX Runtime 1.20, the oldest release that
# edgevit accepts, and OpenVINO read it.
OPSET = 20
PRECISIONS = ("fp32", "fp16")

Progress = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did.

    Args:
        path: the file written.
        spec: the spec embedded in it.
        nodes: number of graph nodes.
        size_bytes: size of the file.
        multiply_adds: of the module's convolutions and matrix products for one image.
        max_error: largest absolute difference of a logit between the file in ONNX Runtime and the
            module in PyTorch, over the verification inputs.
        notes: what the user should know, one sentence each.
    """

    path: Path
    spec: ModelSpec
    nodes: int
    size_bytes: int
    multiply_adds: int
    max_error: float
    notes: tuple[str, ...]


def export_classifier(
    variant: str,
    output: str | os.PathLike[str],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    weights: Weights | None = None,
    name: str | None = None,
    input_size: tuple[int, int] | None = None,
    num_classes: int | None = None,
    class_names: str | os.PathLike[str] | Sequence[str] | None = None,
    crop_pct: float | None = None,
    precision: str = "fp32",
    dynamic_batch: bool = False,
    progress: Progress = lambda step: None,
) -> ExportReport:
    """Export a classifier in its deploy form.

    Args:
        variant: model variant, e.g. `cas_vit_s`.
        output: the ONNX file to write.
        checkpoint: official checkpoint; None writes freshly initialised weights (seed 0).
        weights: `model` or `ema` to choose; by default EMA weights where the file holds them.
        name: the model's name in its spec; by default the variant.
        input_size: (height, width) in pixels; by default that of the variant's official evaluation.
        num_classes: length of the logits; by default what the checkpoint or the names say.
        class_names: names in index order, or a UTF-8 file with one name a line.
        crop_pct: share of the scaled shorter side that the centre crop keeps, in (0, 1]; by default
            what the variant is officially evaluated with.
        precision: `fp32`, or `fp16` to store the weights in half precision; runtimes widen them
            when they load the file, so arithmetic stays float32.
        dynamic_batch: accept any batch size instead of 1.
        progress: called at the beginning of each step with what it does.

    Returns:
        What was written and how it was verified.

    Raises:
        ExportError: if the checkpoint does not fit, the arguments contradict each other, or the
            file does not give the module's numbers; nothing is written then.
        SpecError: if `crop_pct` is out of range.
        ModelError: if there is no such variant.
    """
    definition = find_variant(variant)
    destination = _checked_destination(output)
    size = definition.input_size if input_size is None else input_size
    _check_arguments(size, precision)
    progress("reading the weights")
    loaded = None if checkpoint is None else read_checkpoint(checkpoint, weights=weights)
    names = _class_names(class_names, _num_classes(num_classes, loaded, class_names))
    module = _build(definition.classifier, len(names), loaded, variant)
    evaluation = definition.evaluation(size)
    spec = ModelSpec(
        name=name or variant,
        family=definition.family,
        variant=variant,
        task="classify",
        input=evaluation if crop_pct is None else replace(evaluation, crop_pct=crop_pct),
        class_names=names,
        head={},
        provenance=Provenance(
            checkpoint_sha256=loaded.sha256 if loaded else None,
            weights=loaded.source if loaded else None,
            exporter=f"edgevit {__version__}",
        ),
    )
    notes = _notes(loaded)
    del loaded  # as large as the module
    return _write(module, spec, destination, precision, dynamic_batch, notes, progress)


def embed_spec(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Put the spec into a model's metadata, replacing one that is there."""
    _set_metadata(model, METADATA_KEY, spec.to_json())


def embed_multiply_adds(model: onnx.ModelProto, count: int) -> None:
    """Put the number of multiply-adds for one image into a model's metadata, as `bench` reads it.

    It is the module's number, not that of the graph's own nodes: a graph that computes more than
    the model needs gets no credit for it.
    """
    _set_metadata(model, MULTIPLY_ADDS_KEY, str(count))


def _set_metadata(model: onnx.ModelProto, key: str, value: str) -> None:
    kept = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**kept, key: value})


def graph_from_module(
    module: nn.Module, size: tuple[int, int], *, dynamic_batch: bool = False
) -> onnx.ModelProto:
    """Trace a module into an ONNX graph.

    Args:
        module: in eval mode, from float32 (B, 3, height, width) to one tensor.
        size: input (height, width) in pixels.
        dynamic_batch: leave the batch axis open instead of fixing it at 1.

    Returns:
        The graph, input `image`, output `logits`.

    Raises:
        ExportError: if PyTorch cannot translate the module.
    """
    # A traced batch of 1 would be taken for a constant.
    example = torch.zeros(2 if dynamic_batch else 1, 3, *size)
    shapes = ({0: torch.export.Dim("batch")},) if dynamic_batch else None
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of absent torchvision
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's own deprecations inside its exporter
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=shapes,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as exc:
        refusal = _refusal_behind(exc)
        if refusal is not None:
            raise ExportError(str(refusal)) from exc
        raise ExportError(f"PyTorch cannot export {type(module).__name__}: {exc}") from exc
    assert program is not None
    model = program.model_proto
    for value in program.model.graph.initializers.values():
        value.const_value = None  # onnxscript's rewrite rules hold on to the graph they saw last
    model.producer_name, model.producer_version = "edgevit", __version__
    _drop_traces(model)
    return model


def _refusal_behind(error: BaseException | None) -> ModelError | None:
    """What the module itself refused, such as an input size, if that is what stopped PyTorch."""
    while error is not None and not isinstance(error, ModelError):
        error = error.__cause__ or error.__context__
    return error


def _drop_traces(model: onnx.ModelProto) -> None:
    """PyTorch notes for every node and value where in the source it came from."""
    for values in (model.graph.node, model.graph.value_info, model.graph.input, model.graph.output):
        for value in values:
            del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]


def test_image() -> NDArray[np.uint8]:
    """Make the test vector's image: waves and noise, every grey level, edges in both directions.

    Returns:
        uint8 (40, 56, 3), BGR.
    """
    generator = np.random.default_rng(20240803)
    rows, columns = np.mgrid[0:40, 0:56]
    waves = [np.sin(rows / (3 + c) + c) + np.cos(columns / (5 - c) - c) for c in range(3)]
    noise = generator.normal(0, 0.3, (40, 56, 3))
    return np.clip(127.5 + 55 * (np.stack(waves, axis=-1) + noise), 0, 255).astype(np.uint8)


def _write(
    module: nn.Module,
    spec: ModelSpec,
    destination: Path,
    precision: str,
    dynamic_batch: bool,
    notes: tuple[str, ...],
    progress: Progress,
) -> ExportReport:
    size = spec.input.size
    progress("tracing the deploy form")
    model = graph_from_module(deploy(module, size), size, dynamic_batch=dynamic_batch)
    gc.collect()  # PyTorch's traces hold the weights and refer to themselves
    progress("comparing the graph with the module in ONNX Runtime")
    image = test_image()
    batch = _preprocess(image, spec.input)
    logits, max_error = answer_and_difference(model, module, batch)
    if precision == "fp16":
        store_in_half_precision(model)
        full, logits = logits, load_graph(model)(batch)
        notes += (f"half precision moved a logit by at most {np.abs(logits - full).max():.1e}",)
    progress(f"writing {destination}")
    vector = TestVector(image, Samples.of(batch), {OUTPUT: Samples.of(logits)})
    embed_spec(model, spec.with_test_vector(vector))
    count = multiply_adds(module, torch.empty(1, 3, *size, device="meta"))
    embed_multiply_adds(model, count)
    content = model.SerializeToString()
    _save(destination, content)
    return ExportReport(
        path=destination,
        spec=spec.with_test_vector(vector),
        nodes=len(model.graph.node),
        size_bytes=len(content),
        multiply_adds=count,
        max_error=max_error,
        notes=notes,
    )


def _preprocess(image: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    batch = np.empty((1, 3, *spec.size), np.float32)
    Preprocessor(spec, mode="exact")(image, batch[0])
    return batch


def _build(
    classifier: Callable[[int], nn.Module],
    num_classes: int,
    loaded: Checkpoint | None,
    variant: str,
) -> nn.Module:
    torch.manual_seed(0)
    module = classifier(num_classes)
    if loaded is not None:
        others = {
            name: partial(definition.classifier, num_classes)
            for name, definition in VARIANTS.items()
            if name != variant
        }
        load_strictly(module, loaded.state_dict, variants=others)
    return module.eval()


def _num_classes(
    requested: int | None,
    loaded: Checkpoint | None,
    class_names: str | os.PathLike[str] | Sequence[str] | None,
) -> int | None:
    """What the checkpoint holds; it must be what was asked for."""
    found = num_classes_in(loaded.state_dict) if loaded else None
    if requested is not None and requested < 1:
        raise ExportError(f"num_classes must be from 1 up, not {requested}")
    if requested and found and requested != found:
        raise ExportError(
            f"the checkpoint has {found} classes, not {requested}; leave --num-classes out"
        )
    return found or requested


def _class_names(
    given: str | os.PathLike[str] | Sequence[str] | None, num_classes: int | None
) -> tuple[str, ...]:
    if given is None:
        return default_class_names(num_classes or 1000)
    names = tuple(read_class_names(given) if isinstance(given, str | os.PathLike) else given)
    if num_classes is not None and len(names) != num_classes:
        raise ExportError(f"{len(names)} class names were given for {num_classes} classes")
    return names


def _checked_destination(output: str | os.PathLike[str]) -> Path:
    """Refuse before the work what would fail after it."""
    path = Path(output)
    if path.is_dir():
        raise ExportError(f"the output {str(path)!r} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise ExportError(f"the output's folder {str(path.parent)!r} does not exist; make it first")
    return path


def _check_arguments(input_size: tuple[int, int], precision: str) -> None:
    if precision not in PRECISIONS:
        raise ExportError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    if len(input_size) != 2 or min(input_size) < 1:
        raise ExportError(f"input_size must be a (height, width) from 1 up, not {input_size!r}")


def _notes(loaded: Checkpoint | None) -> tuple[str, ...]:
    if loaded is None:
        return ("no checkpoint was given: the weights are freshly initialised, answers are noise",)
    return loaded.notes


def _save(destination: Path, content: bytes) -> None:
    try:
        write_atomically(destination, content)
    except OSError as exc:
        raise ExportError(f"the output {str(destination)!r} cannot be written: {exc}") from exc
