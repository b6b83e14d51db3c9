"""The classification head: logits to the best classes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgevit.core.image.geometry import Geometry
from edgevit.core.model.heads import ClassHead
from edgevit.core.model.spec import ModelSpec
from edgevit.core.runtime.options import check_count
from edgevit.core.runtime.protocols import AnyArray
from edgevit.core.tasks.results import Classification
from edgevit.errors import InferenceError


def classification_from_outputs(
    outputs: Mapping[str, AnyArray],
    geometry: Geometry,
    spec: ModelSpec,
    head: ClassHead,
    *,
    top_k: int = 5,
) -> Classification:
    """Read a classifier's only output, float (1, C), for one image; see the function below."""
    (logits,) = outputs.values()
    return classification_from_logits(logits[0], spec, top_k=top_k)


def classification_from_logits(
    logits: NDArray[np.floating], spec: ModelSpec, *, top_k: int = 5
) -> Classification:
    """Pick the best classes.

    Args:
        logits: float (C,), one value for each of the spec's classes.
        spec: names the classes.
        top_k: how many to keep; all of them where the model has fewer.

    Returns:
        The result, without timings. Equal scores keep the order of their class ids.

    Raises:
        InputError: if `top_k` is not a whole number from 1 up.
        InferenceError: if a logit is not finite.
    """
    check_count("top_k", top_k)
    best, total = _best_and_total(logits, min(top_k, len(logits)))
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
