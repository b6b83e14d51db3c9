"""What is compared: a model file on a backend's device."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from edgevit.core.image.geometry import Geometry
from edgevit.core.model.precision import precision_of
from edgevit.core.runtime.protocols import AnyArray
from edgevit.core.runtime.registry import backend_names, get_backend
from edgevit.core.tasks.results import Result
from edgevit.errors import BackendError, InferenceError, InputError
from edgevit.predictor import Predictor

Model = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Side:
    """One model file on one device.

    Args:
        model: name in the spec.
        path: the file.
        precision: `fp32`, `fp16-weights` (stored in half precision, computed in float32), `fp16`
            or `int8`, as the file's graph has it.
        backend: backend name.
        device: device name.
    """

    model: str
    path: str
    precision: str
    backend: str
    device: str

    def __str__(self) -> str:
        return f"{Path(self.path).name} on {self.backend} {self.device}"


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a side answered for one image.

    Args:
        outputs: the graph's outputs by name, copied from the session.
        result: what the outputs mean; None where they mean nothing, such as NaN.
        problem: why they mean nothing; None where they mean something.
    """

    outputs: dict[str, AnyArray]
    result: Result | None
    problem: str | None


def usable_backends() -> list[str]:
    """Names of the backends that can be imported and find a device, in the order of `auto`."""
    usable = []
    for name in backend_names():
        try:
            if get_backend(name).devices():
                usable.append(name)
        except BackendError:  # `edgevit doctor` tells why
            continue
    return usable


def open_sides(
    stack: ExitStack,
    models: Sequence[Model | None],
    backends: Sequence[str] | None,
    *,
    threads: int | None,
    preprocess: str | None,
) -> list[Predictor]:
    """Load every model on every backend, the reference first.

    Args:
        stack: closes them.
        models: ONNX files or zoo names; None is the bundled classifier.
        backends: entries `backend` or `backend:device`; None for all that can be used where there
            is one model, and for the first of them where there are several.
        threads: threads of one run; None for each backend's default.
        preprocess: `exact`, `fast` or None for the spec's.

    Raises:
        InputError: if these are fewer than two different sides.
        ModelError: if the models do not answer the same questions.
        BackendError: if a backend or a device cannot be used, or refuses a file.
    """
    places = usable_backends() if backends is None else list(backends)
    if backends is None and len(models) > 1:
        places = places[:1]
    pairs = list(dict.fromkeys((model, place) for model in models for place in places))
    if len(pairs) < 2:
        raise InputError(
            f"parity compares two sides or more, but was given {len(models)} model and the "
            f"backends {places}; pass two models, or one and two of the backends that can be used: "
            f"{', '.join(map(repr, usable_backends())) or 'none'}"
        )
    predictors = []
    for model, place in pairs:
        backend, _, device = place.partition(":")
        predictor = Predictor(
            model, backend=backend, device=device or "auto", threads=threads, preprocess=preprocess
        )
        predictors.append(stack.enter_context(predictor))
    for other in predictors[1:]:
        _require_same_questions(predictors[0], other)
    return predictors


def describe_side(predictor: Predictor) -> Side:
    """Name a loaded predictor's model, file, precision, backend and device."""
    path = predictor.path
    name = predictor.spec.name
    return Side(name, str(path), precision_of(path), predictor.backend, predictor.device)


def answer(predictor: Predictor, batch: AnyArray, geometry: Geometry) -> Answer:
    """Run one side; outputs that mean nothing, such as NaN, are an answer too."""
    outputs = predictor.infer(batch, image_size=geometry.filled_size)
    parameters = {"masks": "rle"} if predictor.head.has_masks else {}
    try:
        return Answer(outputs, predictor.postprocess(outputs, geometry, **parameters), None)
    except InferenceError as exc:
        return Answer(outputs, None, str(exc))


def _require_same_questions(reference: Predictor, other: Predictor) -> None:
    """One batch goes to all, and their answers are compared by class id and output name."""
    mine, others = reference.spec, other.spec
    mode = mine.input.preprocess  # a default of the Predictor, which sees to the batch of all
    for what, value, given in (
        ("task", mine.task, others.task),
        ("class names", mine.class_names, others.class_names),
        ("preprocessing", mine.input, replace(others.input, preprocess=mode)),
        ("head", mine.head, others.head),
        ("outputs", _outputs(reference), _outputs(other)),
    ):
        if value != given:
            raise InputError(
                f"{str(reference.path)!r} and {str(other.path)!r} cannot be compared: their {what} "
                f"differ, {_short(value)} and {_short(given)}"
            )


def _outputs(predictor: Predictor) -> list[str]:
    return sorted(f"{info.name} {info.dtype}" for info in predictor.session.outputs)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
