"""Write one self-describing ONNX file from a checkpoint, and prove that it computes the module."""

import gc
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgevit import __version__
from edgevit.convert.graph import save_model
from edgevit.convert.metadata import embed_multiply_adds, embed_spec
from edgevit.convert.reference_inputs import preprocessed, test_image
from edgevit.core.model.spec import ModelSpec, Provenance
from edgevit.errors import ExportError
from edgevit.export.checkpoint.class_names import default_class_names, read_class_names
from edgevit.export.checkpoint.weights import Checkpoint, Weights, load_strictly, read_checkpoint
from edgevit.export.deploy import deploy
from edgevit.export.forms import FORMS, Verified
from edgevit.export.heads import HEADS
from edgevit.export.heads.base import GraphHead, HeadExporter
from edgevit.export.trace import graph_from_module
from edgevit.export.verify import answer_and_difference
from edgevit.models.variants import DEFINITIONS, DenseVariant, Variant, find_definition

PRECISIONS = ("fp32", "fp16")

Progress = Callable[[str], object]
ClassNames = str | os.PathLike[str] | Sequence[str] | None
Definition = Variant | DenseVariant


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export did.

    Args:
        path: the file written.
        spec: the spec embedded in it.
        nodes: number of graph nodes.
        size_bytes: size of the file.
        multiply_adds: of the module's convolutions and matrix products for one image.
        max_error: largest absolute difference of a logit, score or delta between the float32 graph
            in ONNX Runtime and the module in PyTorch, over the verification inputs; what half
            precision adds is in `notes`.
        notes: what the user should know, one sentence each.
    """

    path: Path
    spec: ModelSpec
    nodes: int
    size_bytes: int
    multiply_adds: int
    max_error: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Request:
    """What file is to be written.

    Args:
        spec: of the float32 graph.
        destination: the file.
        form: one of `FORMS`.
        dynamic_batch: whether it takes any batch size.
        notes: what the user should know already.
    """

    spec: ModelSpec
    destination: Path
    form: str
    dynamic_batch: bool
    notes: tuple[str, ...]


def export_model(
    variant: str,
    output: str | os.PathLike[str],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    weights: Weights | None = None,
    name: str | None = None,
    input_size: tuple[int, int] | None = None,
    num_classes: int | None = None,
    class_names: ClassNames = None,
    crop_pct: float | None = None,
    score_threshold: float | None = None,
    segment_output: str | None = None,
    precision: str = "fp32",
    half_weights: bool = False,
    dynamic_batch: bool = False,
    progress: Progress = lambda step: None,
) -> ExportReport:
    """Export a model in its deploy form.

    Args:
        variant: model variant, e.g. `cas_vit_s` or `cas_vit_s_retinanet`.
        output: the ONNX file to write.
        checkpoint: official checkpoint, or one of the same keys with other widths of neck and head;
            None writes freshly initialized weights (seed 0).
        weights: `model` or `ema` to choose; by default EMA weights where the file holds them.
        name: the model's name in its spec; by default the variant.
        input_size: (height, width) in pixels; by default that of the variant's official evaluation,
            640x640 for detectors and 512x512 for segmenters.
        num_classes: number of classes; by default what the checkpoint or the names say.
        class_names: names in index order, or a UTF-8 file with one name a line.
        crop_pct: share of the scaled shorter side that a classifier's center crop keeps, in (0, 1];
            by default what the variant is officially evaluated with.
        score_threshold: 0-1, a detection's score is greater where the caller does not say another;
            by default the official evaluation's, which is low (0.05).
        segment_output: of a segmenter's graph: `classes` of every 4x4 pixels, `classes/2`,
            `classes/1` or `logits`; None for the first.
        precision: what the graph computes in, `fp32`, or `fp16` where that is safe and `fp32` where
            it is not, which is for GPUs; see `edgevit.convert.fp16.convert`.
        half_weights: store the weights of an `fp32` graph in half precision; runtimes widen them
            when they load the file, so arithmetic stays float32.
        dynamic_batch: accept any batch size instead of 1; for classifiers.
        progress: called at the beginning of each step with what it does.

    Returns:
        What was written and how it was verified.

    Raises:
        ExportError: if the checkpoint does not fit, the arguments contradict each other, or the
            file does not give the module's numbers; nothing is written then.
        SpecError: if `crop_pct` or `score_threshold` is out of range.
        ModelError: if there is no such variant.
    """
    definition = find_definition(variant)
    kind = _kind_of(variant, definition)
    destination = _checked_destination(output)
    size = definition.input_size if input_size is None else input_size
    _check_arguments(size, precision, half_weights)
    _check_kind(variant, kind, size, segment_output)
    if definition.head != "classifier":
        _refuse(variant, "classifier", crop_pct=crop_pct is not None, dynamic_batch=dynamic_batch)
    if not kind.has_score_threshold:
        _refuse(variant, "detector", score_threshold=score_threshold is not None)
    progress("reading the weights")
    loaded = None if checkpoint is None else read_checkpoint(checkpoint, weights=weights)
    found = _num_classes(num_classes, kind, loaded)
    names = _class_names(class_names, found, definition)
    module = _build(definition, kind, len(names), loaded)
    graph_head = kind.graph_head(module, size, segment_output)
    evaluation = definition.evaluation(size)
    spec = ModelSpec(
        name=name or variant,
        family=definition.family,
        variant=variant,
        task=definition.task,
        input=evaluation if crop_pct is None else replace(evaluation, crop_pct=crop_pct),
        class_names=names,
        head=_with_threshold(graph_head.head, score_threshold),
        provenance=Provenance(
            checkpoint_sha256=loaded.sha256 if loaded else None,
            weights=loaded.source if loaded else None,
            exporter=f"edgevit {__version__}",
        ),
    )
    notes = _notes(loaded)
    del loaded  # as large as the module
    form = "half_weights" if half_weights else precision
    request = _Request(spec, destination, form, dynamic_batch, notes)
    return _write(module, graph_head, request, progress)


def _write(
    module: nn.Module, graph_head: GraphHead, request: _Request, progress: Progress
) -> ExportReport:
    size = request.spec.input.size
    progress("tracing the deploy form")
    model = graph_from_module(
        graph_head.attach(deploy(module, size, half=request.form == "fp16")).eval(),
        size,
        outputs=graph_head.outputs,
        settings=graph_head.settings,
        dynamic_batch=request.dynamic_batch,
    )
    gc.collect()  # PyTorch's traces hold the weights and refer to themselves
    progress("comparing the graph with the module in ONNX Runtime")
    image = test_image()
    batch = preprocessed(image, request.spec.input)
    outputs, max_error = answer_and_difference(model, module, graph_head, batch)
    verified = Verified(model, module, graph_head, image, batch, outputs)
    form = FORMS[request.form](verified, request.spec)
    progress(f"writing {request.destination}")
    embed_spec(form.model, form.spec)
    count = graph_head.count(module, size)
    embed_multiply_adds(form.model, count)
    content = form.model.SerializeToString()
    save_model(request.destination, content)
    return ExportReport(
        path=request.destination,
        spec=form.spec,
        nodes=len(form.model.graph.node),
        size_bytes=len(content),
        multiply_adds=count,
        max_error=max_error,
        notes=(*request.notes, *form.notes),
    )


def _build(
    definition: Definition, kind: HeadExporter, num_classes: int, loaded: Checkpoint | None
) -> nn.Module:
    torch.manual_seed(0)
    widths = kind.widths(loaded.state_dict) if loaded else {}
    module = definition.build(num_classes, **widths)
    if loaded is not None:
        others = {
            name: partial(_hollow, other, num_classes, widths)
            for name, other in DEFINITIONS.items()
            if other is not definition and other.head == definition.head
        }
        load_strictly(module, loaded.state_dict, variants=others)
    return module.eval()


def _hollow(definition: Definition, num_classes: int, widths: Mapping[str, int]) -> nn.Module:
    """A module with the shapes alone."""
    with torch.device("meta"):
        return definition.build(num_classes, **widths)


def _num_classes(
    requested: int | None, kind: HeadExporter, loaded: Checkpoint | None
) -> int | None:
    """What the checkpoint holds; it must be what was asked for."""
    found = kind.num_classes(loaded.state_dict) if loaded else None
    if requested is not None and requested < 1:
        raise ExportError(f"num_classes must be from 1 up, not {requested}")
    if requested and found and requested != found:
        raise ExportError(
            f"the checkpoint has {found} classes, not {requested}; leave --num-classes out"
        )
    return found or requested


def _class_names(
    given: ClassNames, num_classes: int | None, definition: Definition
) -> tuple[str, ...]:
    if given is None:
        return default_class_names(num_classes or definition.num_classes, definition.num_classes)
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


def _check_arguments(input_size: tuple[int, int], precision: str, half_weights: bool) -> None:
    if precision not in PRECISIONS:
        raise ExportError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    if half_weights and precision != "fp32":
        raise ExportError(
            f"`half_weights` is for fp32 graphs; in {precision} they are stored so anyway. "
            "Leave one of the two out"
        )
    if len(input_size) != 2 or min(input_size) < 1:
        raise ExportError(f"input_size must be a (height, width) from 1 up, not {input_size!r}")


def _kind_of(variant: str, definition: Definition) -> HeadExporter:
    if definition.head not in HEADS:
        raise ExportError(f"{variant!r} cannot be exported yet; heads that can: {', '.join(HEADS)}")
    return HEADS[definition.head]


def _check_kind(variant: str, kind: HeadExporter, size: tuple[int, int], form: str | None) -> None:
    if form is not None and form not in kind.forms:
        choice = f"must be one of {', '.join(kind.forms)}" if kind.forms else "is none of its own"
        raise ExportError(f"the `segment_output` of {variant!r} {choice}, not {form!r}")
    step = kind.size_step
    if any(side % step for side in size):
        height, width = (max(1, round(side / step)) * step for side in size)
        raise ExportError(
            f"{variant!r} takes heights and widths that are multiples of {step}, not "
            f"{size[0]}x{size[1]}; nearest: {height}x{width}"
        )


def _refuse(variant: str, kind: str, **given: bool) -> None:
    for name, is_given in given.items():
        if is_given:
            raise ExportError(f"`{name}` is for {kind}s, which {variant!r} is not; leave it out")


def _with_threshold(head: Mapping[str, Any], score_threshold: float | None) -> Mapping[str, Any]:
    """A detector's head parameters with another score threshold."""
    if score_threshold is None:
        return head
    return {**head, "selection": {**head["selection"], "score_threshold": score_threshold}}


def _notes(loaded: Checkpoint | None) -> tuple[str, ...]:
    if loaded is None:
        return ("no checkpoint was given: the weights are freshly initialized, answers are noise",)
    return loaded.notes
