"""What a prediction answers: frozen parallel arrays that own their memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevit.core.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """The best classes of one image, best first.

    Args:
        class_ids: int64 (K,).
        class_names: K names, parallel to `class_ids`.
        scores: float32 (K,), softmax probabilities over all of the model's classes.
        timings_ms: milliseconds spent in `preprocess`, `infer` and `postprocess`.
    """

    class_ids: NDArray[np.int64]
    class_names: tuple[str, ...]
    scores: NDArray[np.float32]
    timings_ms: dict[str, float]

    def __post_init__(self) -> None:
        if not len(self.class_ids) == len(self.class_names) == len(self.scores):
            raise InputError(
                f"a Classification needs parallel fields, not {len(self.class_ids)} class_ids, "
                f"{len(self.class_names)} class_names and {len(self.scores)} scores"
            )

    def __len__(self) -> int:
        return len(self.class_ids)

    def __str__(self) -> str:
        pairs = zip(self.class_names, self.scores, strict=True)
        return ", ".join(f"{name} {score:.1%}" for name, score in pairs)

    def to_dict(self) -> dict[str, Any]:
        """Describe as JSON values: class_ids, class_names and scores."""
        return {
            "class_ids": self.class_ids.tolist(),
            "class_names": list(self.class_names),
            "scores": self.scores.tolist(),
        }

    def to_json(self) -> str:
        """Write `to_dict` as JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)
