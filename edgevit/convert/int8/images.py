"""The images that calibrate a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgevit.convert.session import Feeds
from edgevit.errors import InputError, QuantizationError
from edgevit.predictor import Predictor

FEW = 32  # fewer images make ranges that depend on which they are
SHOWN = 3  # names listed in a message


@dataclass(frozen=True, slots=True)
class Calibration:
    """Images as a model takes them.

    Args:
        batches: inputs of the graph, one of each image.
        skipped: files that could not be read, and why.
    """

    batches: Sequence[Feeds]
    skipped: dict[str, str]


def read_calibration(
    predictor: Predictor, images: Sequence[Path], step: Callable[[], object]
) -> Calibration:
    """Preprocess images as the model does; those that cannot be read are left out and named.

    Args:
        predictor: of the float32 model.
        images: image files.
        step: called after each.

    Raises:
        QuantizationError: if none can be read.
    """
    batches, skipped = [], {}
    for path in images:
        try:
            batch, geometry = predictor.preprocess(path)
        except InputError as exc:
            skipped[str(path)] = str(exc)
        else:
            feeds = predictor.feeds(batch, image_size=geometry.filled_size, score_threshold=0.0)
            batches.append({name: np.array(value) for name, value in feeds.items()})
        step()
    if not batches:
        reasons = "; ".join(list(skipped.values())[:SHOWN])
        raise QuantizationError(f"no calibration image can be read: {reasons or 'none was given'}")
    return Calibration(batches, skipped)


def notes_on(calibration: Calibration) -> list[str]:
    """Say what is short of what calibration should have."""
    notes = []
    if len(calibration.batches) < FEW:
        notes.append(
            f"only {len(calibration.batches)} images calibrated the model; ranges are the more "
            f"reliable for {FEW} or more of the kind that it will see"
        )
    if calibration.skipped:
        names = ", ".join(repr(name) for name in list(calibration.skipped)[:SHOWN])
        more = len(calibration.skipped) - SHOWN
        notes.append(
            f"{len(calibration.skipped)} images could not be read and were left out: {names}"
            + (f" and {more} more" if more > 0 else "")
        )
    return notes
