"""The classification head: logits to the best classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgevit.core.errors import InferenceError, InputError
from edgevit.core.results import Classification
from edgevit.core.spec import ModelSpec


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
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
        raise InputError(f"top_k must be a whole number from 1 up, not {top_k!r}")
    scores = softmax(logits)
    class_ids = np.argsort(-logits, kind="stable")[:top_k]
    return Classification(
        class_ids.astype(np.int64),
        tuple(spec.class_names[index] for index in class_ids.tolist()),
        scores[class_ids],
        {},
    )


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Turn logits into probabilities that sum to one.

    Args:
        logits: float (C,).

    Returns:
        float32 (C,).

    Raises:
        InferenceError: if a logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise InferenceError(
            "the model answered logits that are not finite; its weights or its input hold NaN or "
            "infinity. Run `edgevit doctor MODEL`"
        )
    exponentials = np.exp(logits - logits.max())
    return np.asarray(exponentials / exponentials.sum(), np.float32)
