"""What a prediction answers: frozen parallel arrays that own their memory."""

import json
from collections.abc import Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevit.core.tasks.rle import RLE
from edgevit.errors import InputError

Masks = NDArray[np.bool_] | tuple[RLE, ...]


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
        _require_parallel(
            "a Classification",
            class_ids=self.class_ids,
            class_names=self.class_names,
            scores=self.scores,
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


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The objects of one image, best first.

    Args:
        boxes: float32 (K, 4), xyxy in pixels of the source image, within it.
        scores: float32 (K,), 0-1.
        class_ids: int64 (K,).
        class_names: K names, parallel to `class_ids`.
        timings_ms: milliseconds spent in `preprocess`, `infer` and `postprocess`.
        masks: bool (K, H, W) over the source image, or K RLEs of it; None where the model has
            none, or nobody asked for them.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    class_names: tuple[str, ...]
    timings_ms: dict[str, float]
    masks: Masks | None = None

    def __post_init__(self) -> None:
        if self.boxes.dtype != np.float32 or self.boxes.shape != (len(self.boxes), 4):
            raise InputError(
                f"boxes must be float32 (K, 4), xyxy, not {self.boxes.dtype} {self.boxes.shape}"
            )
        masks = {} if self.masks is None else {"masks": self.masks}
        _require_parallel(
            "Detections",
            boxes=self.boxes,
            scores=self.scores,
            class_ids=self.class_ids,
            class_names=self.class_names,
            **masks,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __str__(self) -> str:
        pairs = zip(self.class_names, self.scores, strict=True)
        return ", ".join(f"{name} {score:.1%}" for name, score in pairs)

    def rles(self) -> tuple[RLE, ...]:
        """Masks as RLEs, whichever form they have; empty where there are none."""
        if self.masks is None:
            return ()
        return tuple(mask if isinstance(mask, RLE) else RLE.from_mask(mask) for mask in self.masks)

    def to_dict(self) -> dict[str, Any]:
        """Describe as JSON values: boxes, scores, class_ids, class_names, and masks as COCO RLE."""
        document: dict[str, Any] = {
            "boxes": self.boxes.tolist(),
            "scores": self.scores.tolist(),
            "class_ids": self.class_ids.tolist(),
            "class_names": list(self.class_names),
        }
        if self.masks is not None:
            document["masks"] = [rle.to_dict() for rle in self.rles()]
        return document

    def to_json(self) -> str:
        """Write `to_dict` as JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The class of every pixel of one image.

    Args:
        class_map: uint8 or uint16 (H, W), the source image's size; a class id for each pixel, or
            `unseen`, the dtype's largest value, where the network did not see the pixel.
        class_names: name of each class id, in order: all of the model's.
        palette: uint8 (C, 3), BGR, a color for each class id.
        timings_ms: milliseconds spent in `preprocess`, `infer` and `postprocess`.
    """

    class_map: NDArray[np.uint8] | NDArray[np.uint16]
    class_names: tuple[str, ...]
    palette: NDArray[np.uint8]
    timings_ms: dict[str, float]

    def __post_init__(self) -> None:
        if self.class_map.dtype not in (np.uint8, np.uint16) or self.class_map.ndim != 2:
            raise InputError(
                "class_map must be uint8 or uint16 (H, W), "
                f"not {self.class_map.dtype} {self.class_map.shape}"
            )
        if self.palette.dtype != np.uint8 or self.palette.shape != (len(self.class_names), 3):
            raise InputError(
                f"palette must be uint8 ({len(self.class_names)}, 3), a color for each class "
                f"name, not {self.palette.dtype} {self.palette.shape}"
            )
        if len(self.class_names) > self.unseen:
            raise InputError(
                f"a {self.class_map.dtype} class_map has room for {self.unseen} classes, "
                f"not {len(self.class_names)}"
            )

    @property
    def unseen(self) -> int:
        """The value in `class_map` of pixels that the network did not see."""
        return int(np.iinfo(self.class_map.dtype).max)

    def __str__(self) -> str:
        counts = self.pixels_per_class()
        present = [index for index in np.argsort(-counts, kind="stable") if counts[index]]
        share = 1 / self.class_map.size if self.class_map.size else 0
        return ", ".join(f"{self.class_names[i]} {counts[i] * share:.1%}" for i in present)

    def pixels_per_class(self) -> NDArray[np.int64]:
        """Count the pixels of each class, int64 (C,); unseen pixels are in none."""
        counts = np.bincount(self.class_map.reshape(-1), minlength=len(self.class_names))
        return counts[: len(self.class_names)]

    def to_dict(self) -> dict[str, Any]:
        """Describe as JSON values: class_names and pixels_per_class; the map itself is not in."""
        return {
            "class_names": list(self.class_names),
            "pixels_per_class": self.pixels_per_class().tolist(),
        }

    def to_json(self) -> str:
        """Write `to_dict` as JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)


Result = Classification | Detections | Segmentation


def _require_parallel(what: str, **columns: Sized) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        given = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise InputError(f"{what} needs parallel fields, not {given}")
