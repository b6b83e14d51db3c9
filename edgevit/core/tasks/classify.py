"""Classifiers: logits to the best classes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevit.core.image.geometry import Geometry
from edgevit.core.model.heads import ClassHead
from edgevit.core.model.spec import ModelSpec
from edgevit.core.runtime.options import count_option
from edgevit.core.runtime.protocols import AnyArray
from edgevit.core.tasks.results import Classification
from edgevit.core.tasks.signature import Output, floats
from edgevit.errors import InferenceError

RESULT = Classification


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a caller wants, checked.

    Args:
        top_k: how many classes, from 1 to all of the model's.
    """

    top_k: int


def graph_outputs(spec: ModelSpec, head: ClassHead) -> tuple[Output, ...]:
    """Describe what a classifier's graph must answer: a logit for each class."""
    return (floats(None, 1, len(spec.class_names)),)


def parameters(spec: ModelSpec, head: ClassHead, *, top_k: int = 5) -> Parameters:
    """Check what a caller wants.

    Args:
        spec: names the classes.
        head: the spec's head.
        top_k: how many classes to keep; all of them where the model has fewer.

    Raises:
        InputError: if `top_k` is not a whole number from 1 up.
    """
    return Parameters(min(count_option({"top_k": top_k}, "top_k", 5), len(spec.class_names)))


def graph_inputs(head: ClassHead, wanted: Parameters | None = None) -> dict[str, float]:
    """Say what the graph is told besides the image: nothing."""
    return {}


def read(
    outputs: Mapping[str, AnyArray],
    geometry: Geometry,
    *,
    spec: ModelSpec,
    head: ClassHead,
    wanted: Parameters,
) -> Classification:
    """Pick the best classes of one image.

    Args:
        outputs: the graph's only output, float (1, C), a logit for each of the spec's classes.
        geometry: maps the network input to the source image, which has no place here.
        spec: names the classes.
        head: the spec's head.
        wanted: what `parameters` made.

    Returns:
        The result, without timings. Equal scores keep the order of their class ids.

    Raises:
        InferenceError: if a logit is not finite.
    """
    ((logits,),) = outputs.values()
    best, total = _best_and_total(logits, wanted.top_k)
    ids = [index for _, index in best]
    return Classification(
        np.array(ids, np.int64),
        tuple([spec.class_names[index] for index in ids]),
        np.array([math.exp(value - best[0][0]) / total for value, _ in best], np.float32),
        {},
    )


def _best_and_total(
    logits: NDArray[np.floating], count: int
) -> tuple[list[tuple[float, int]], float]:
    """The `count` best (value, class id), and the sum of all exp(value - best value).

    Few NumPy calls, on little memory: right after a network has filled the caches with its own
    weights, each of them costs several times what it costs in a loop.
    """
    ordered = logits.copy()
    ordered.partition((0, -count, -1))  # which puts NaN last
    if not (math.isfinite(ordered[0]) and math.isfinite(ordered[-1])):
        raise InferenceError(
            "the model answered logits that are not finite; its weights or its input hold NaN or "
            "infinity. Run `edgevit doctor MODEL`"
        )
    (ids,) = (logits >= ordered[-count]).nonzero()  # more than `count` where values are equal
    pairs = zip(logits[ids].tolist(), ids.tolist(), strict=True)
    best = sorted(pairs, key=lambda pair: (-pair[0], pair[1]))[:count]
    np.subtract(logits, best[0][0], out=ordered)
    np.exp(ordered, out=ordered)
    return best, float(np.add.reduce(ordered))
