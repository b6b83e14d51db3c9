"""The steps of quantizing a model, in their order."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgevit.convert.graph import array_of, name_of, present, save_model
from edgevit.convert.int8.accuracy import accuracy_of
from edgevit.convert.int8.calibrate import RULES, Range, minmax, observe
from edgevit.convert.int8.compare import Difference, Reference
from edgevit.convert.int8.correct import correct_biases
from edgevit.convert.int8.graph import Product, products_of, read_float_model, values_of
from edgevit.convert.int8.images import notes_on, read_calibration
from edgevit.convert.int8.pointwise import linear_layers_as_convolutions
from edgevit.convert.int8.record import Record, finished_model
from edgevit.convert.int8.report import LayerSensitivity, QuantizationReport
from edgevit.convert.int8.sensitivity import (
    IMAGES,
    check_layers,
    keep_in_float,
    layer_sensitivities,
)
from edgevit.convert.int8.target import (
    AUTO,
    LAYOUTS,
    RUNS,
    Speed,
    TargetLayout,
    check_target,
    choose_layout,
)
from edgevit.convert.session import Feeds
from edgevit.core.image.files import evenly_spaced
from edgevit.errors import InputError, QuantizationError
from edgevit.evaluate import DataSet
from edgevit.predictor import Predictor

RULE_IMAGES = 16  # that rules and corrections are compared on
PathLike = str | os.PathLike[str]
Progress = Callable[[str, int, int], object]
"""Called with what is being done, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What the caller of `quantize` asked for; see there."""

    source: Path
    target: str
    rule: str
    max_error: float
    keep_float: Sequence[str]
    threads: int | None


@dataclass(frozen=True, slots=True)
class _Observed:
    """A float32 graph, what of it can be quantized, and what these products' tensors held."""

    model: ir.Model
    products: Sequence[Product]
    ranges: Mapping[str, Range]

    def thresholds(self, rule: Callable[[Range], float]) -> dict[str, float]:
        return {tensor: rule(found) for tensor, found in self.ranges.items()}


@dataclass(frozen=True, slots=True)
class _Choice:
    """What the measurements decided."""

    backend: str
    speeds: Mapping[str, Speed]
    rule: str
    rules: Mapping[str, float]
    bias_correction: tuple[float, float]
    layers: Sequence[LayerSensitivity]
    model: ir.Model
    difference: Difference


def quantize(
    source: PathLike,
    output: PathLike,
    images: DataSet | PathLike | Sequence[PathLike],
    *,
    name: str | None = None,
    target: str = AUTO,
    rule: str = AUTO,
    max_error: float = 0.1,
    keep_float: Sequence[str] = (),
    data: DataSet | PathLike | None = None,
    max_drop: float = 1.0,
    limit: int = 128,
    threads: int | None = None,
    progress: Progress = lambda step, done, total: None,
) -> QuantizationReport:
    """Write a model with int8 arithmetic.

    Args:
        source: a float32 ONNX file with a spec, as `edgevit export` writes it (with weights in
            half precision too).
        output: the file to write.
        images: images of the kind that the model will see, about a hundred: a folder, a data set,
            or their paths. They pass through the model's own preprocessing. Those that cannot be
            read are left out and named.
        name: the model's name in its spec; by default the source's with `_int8`.
        target: the backend whose form the file has: `openvino`, `onnxruntime`, `tensorrt`, or
            `auto` for what is fastest here, measured. Every form runs on each of them.
        rule: how a range is made of what was seen: `minmax`, `percentile`, `entropy`, or `auto` for
            the one that changes the model's answers least.
        max_error: root mean square of the change of the answers over that of the answers; layers
            stay in floating point until the sum of what each costs alone is no more.
        keep_float: layers that stay in floating point in any case, as the report names them.
        data: a data set to measure accuracy on, before and after; None to leave that out.
        max_drop: points of top-1, AP or mIoU that may be lost on it.
        limit: how many of the images to take at most, evenly spaced.
        threads: of a run when speed or accuracy is measured; None for the default.
        progress: see `Progress`.

    Returns:
        What was done, and how it was measured.

    Raises:
        QuantizationError: if the file is quantized already, no image can be read, no layer can be
            quantized, or more accuracy is lost than `max_drop`; nothing is written then.
        ModelError: if the source is not there, or carries no spec.
        InputError: if an argument is out of range, or `data` does not fit the model.
    """
    source, output = Path(source), Path(output)
    check_target(target)
    _check_arguments(output, rule, limit, max_error)
    with Predictor(source, backend="onnxruntime", threads=threads) as predictor:
        model = read_float_model(source)
        paths = evenly_spaced(_paths_of(images), limit)
        step = _counter(progress, "reading images", len(paths))
        calibration = read_calibration(predictor, paths, step)
        record = Record.of(predictor, name or f"{predictor.spec.name}_int8")
    request = _Request(source, target, rule, max_error, keep_float, threads)
    choice = _choose(model, calibration.batches, request, progress)
    progress("checking the installed runtimes", 0, 1)
    finished = finished_model(choice.model, record, choice.rule, calibration)
    accuracy = accuracy_of(
        source, finished.content, data, max_drop=max_drop, threads=threads, progress=progress
    )
    progress(f"writing {output}", 0, 1)
    save_model(output, finished.content, QuantizationError)
    return QuantizationReport(
        path=output,
        source=source,
        spec=finished.spec,
        images=len(calibration.batches),
        skipped=calibration.skipped,
        backend=choice.backend,
        speeds=choice.speeds,
        rule=choice.rule,
        rules=choice.rules,
        bias_correction=choice.bias_correction,
        layers=choice.layers,
        error=choice.difference.error,
        agreement=choice.difference.agreement,
        accuracy=accuracy,
        size_bytes=len(finished.content),
        notes=(*notes_on(calibration), *_notes_on(choice)),
    )


def _paths_of(images: DataSet | PathLike | Sequence[PathLike]) -> list[Path]:
    if isinstance(images, DataSet | str | os.PathLike):
        data = DataSet.of(images)
        return data.limited(data.image_paths())
    return [Path(image) for image in images]


def _choose(
    model: ir.Model, batches: Sequence[Feeds], request: _Request, progress: Progress
) -> _Choice:
    products = _products(model, batches[0], request)
    tensors = [tensor for product in products for tensor in (product.input, product.output)]
    step = _counter(progress, "observing activations", len(batches))
    observed = _Observed(model, products, observe(model, tensors, batches, step))
    backend, speeds = _backend(observed, request, batches[0], progress)
    progress("comparing with float32", 0, 1)
    reference = Reference(model, batches)
    layout = LAYOUTS[backend]
    model = layout.prepare(model)
    observed = replace(observed, model=model)
    rule, thresholds, rules = _best_rule(
        observed, reference, layout, rule=request.rule, progress=progress
    )
    rows = layer_sensitivities(
        model,
        products,
        thresholds,
        Reference(model, batches[:IMAGES]),  # what the layout itself changes is no layer's doing
        layout=layout,
        multiply_adds=_multiply_adds(model, products, batches[0]),
        step=_counter(progress, "measuring layers", len(products)),
    )
    rows = keep_in_float(rows, request.max_error, always=request.keep_float)
    chosen = _chosen(products, rows, request)
    candidates = [
        layout.quantize(made, chosen, thresholds)
        for made in (model, correct_biases(model, chosen, observed.ranges))
    ]
    step = _counter(progress, "comparing with float32", 2 * len(batches))
    found = [reference.difference(made, step=step) for made in candidates]
    best = int(found[1].error < found[0].error)
    errors = (found[0].error, found[1].error)
    return _Choice(backend, speeds, rule, rules, errors, rows, candidates[best], found[best])


def _products(model: ir.Model, feeds: Feeds, request: _Request) -> list[Product]:
    """Bring the graph into the layout that all forms share, and find what can be quantized."""
    linear_layers_as_convolutions(model, _shapes(model, feeds))
    products = products_of(model)
    if not products:
        raise QuantizationError("the model has no convolution or linear layer that gains by int8")
    check_layers(request.keep_float, products)
    return products


def _chosen(
    products: Sequence[Product], rows: Sequence[LayerSensitivity], request: _Request
) -> list[Product]:
    """The products that their rows say are to be quantized."""
    chosen = [p for p, row in zip(products, rows, strict=True) if row.precision == "int8"]
    if not chosen:
        raise QuantizationError(
            f"no layer can be quantized with an error of the answers below {request.max_error}; "
            "allow more with `max_error`, or keep the float32 file"
        )
    return chosen


def _notes_on(choice: _Choice) -> list[str]:
    """Say for whom the file is not."""
    speed = choice.speeds.get(choice.backend)
    notes = [
        f"the file has the form that {choice.backend} computes fast; other runtimes give its "
        "answers, but may take longer than with the float32 file"
    ]
    fastest = min((found.float32_ms for found in choice.speeds.values()), default=0.0)
    if speed is not None and speed.int8_ms >= fastest:
        notes.append("int8 is not faster than float32 on this machine; the float32 file serves it")
    return notes


def _backend(
    observed: _Observed, request: _Request, feeds: Feeds, progress: Progress
) -> tuple[str, dict[str, Speed]]:
    """The backend whose form to take, and what was measured to choose it."""
    if request.target != AUTO:
        return request.target, {}
    return choose_layout(
        observed.model,
        observed.products,
        observed.thresholds(minmax),
        source=request.source,
        feeds=feeds,
        threads=request.threads,
        step=_counter(progress, "measuring the backends' forms", RUNS),
    )


def _best_rule(
    observed: _Observed,
    reference: Reference,
    layout: TargetLayout,
    *,
    rule: str,
    progress: Progress,
) -> tuple[str, Mapping[str, float], Mapping[str, float]]:
    """The rule, its thresholds, and the error with every rule that was tried."""
    names = list(RULES) if rule == AUTO else [rule]
    images = min(RULE_IMAGES, len(reference))
    step = _counter(progress, "comparing rules", len(names) * images)
    thresholds, errors = {}, {}
    for name in names:
        thresholds[name] = observed.thresholds(RULES[name])
        quantized = layout.quantize(observed.model, observed.products, thresholds[name])
        errors[name] = reference.difference(quantized, limit=images, step=step).error
    best = min(errors, key=lambda name: errors[name])
    return best, thresholds[best], errors


def _shapes(model: ir.Model, feeds: Feeds) -> dict[str, tuple[int, ...]]:
    """Shapes of all activations, by running the model once."""
    tensors = [name_of(value) for node in model.graph for value in present(node.outputs)]
    return {name: np.shape(values) for name, values in values_of(model, tensors, feeds).items()}


def _multiply_adds(model: ir.Model, products: Sequence[Product], feeds: Feeds) -> dict[str, int]:
    answers = values_of(model, [product.output for product in products], feeds)
    weights = model.graph.initializers
    return {
        product.name: answers[product.output][0, 0].size * array_of(weights[product.weight]).size
        for product in products
    }


def _counter(progress: Progress, step: str, total: int) -> Callable[[], None]:
    done = 0
    progress(step, 0, total)

    def count() -> None:
        nonlocal done
        done += 1
        progress(step, done, total)

    return count


def _check_arguments(output: Path, rule: str, limit: int, max_error: float) -> None:
    if rule != AUTO and rule not in RULES:
        raise InputError(f"rule must be one of auto, {', '.join(RULES)}, not {rule!r}")
    if limit < 1:
        raise InputError(f"limit must be from 1 up, not {limit}")
    if not max_error > 0:
        raise InputError(f"max_error must be above 0, not {max_error}")
    if output.is_dir():
        raise InputError(f"the output {str(output)!r} is a folder; name a file in it")
    if not output.parent.is_dir():
        raise InputError(f"the output's folder {str(output.parent)!r} is not there; make it first")
