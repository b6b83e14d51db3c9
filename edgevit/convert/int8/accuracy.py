"""The gate: accuracy on a data set before and after."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from edgevit.convert.int8.report import Accuracy
from edgevit.errors import QuantizationError
from edgevit.evaluate import DataSet, EvaluationReport, evaluate
from edgevit.predictor import Predictor


def accuracy_of(
    source: Path,
    content: bytes,
    data: DataSet | str | os.PathLike[str] | None,
    *,
    max_drop: float,
    threads: int | None,
    progress: Callable[[str, int, int], object],
) -> Accuracy | None:
    """Answer a data set with both models.

    Args:
        source: the float32 file.
        content: the quantized file's.
        data: the data set; None for nothing.
        max_drop: points that may be lost.
        threads: of a run; None for the default.
        progress: called with the step, how many images are done, and of how many.

    Raises:
        QuantizationError: if more is lost.
        InputError: if the data does not fit the model.
    """
    if data is None:
        return None
    with TemporaryDirectory() as folder:
        file = Path(folder) / "quantized.onnx"
        file.write_bytes(content)
        before, after = (
            _evaluated(path, data, threads, partial(progress, step))
            for path, step in ((source, "accuracy before"), (file, "accuracy after"))
        )
    found = _compared(before, after)
    if found.drop > max_drop:
        raise QuantizationError(
            f"int8 loses {found.drop:.2f} points of {found.metric} on {found.images} images "
            f"({100 * found.before:.2f} to {100 * found.after:.2f}), more than {max_drop:g}; "
            "nothing was written. Calibrate on more images of the kind, keep more layers in "
            "floating point with a lower `max_error`, or allow more with `max_drop`"
        )
    return found


def _evaluated(
    path: Path,
    data: DataSet | str | os.PathLike[str],
    threads: int | None,
    progress: Callable[[int, int], object],
) -> EvaluationReport:
    with Predictor(path, threads=threads) as predictor:
        return evaluate(predictor, data, progress=progress)


def _compared(before: EvaluationReport, after: EvaluationReport) -> Accuracy:
    (metric, first), (_, second) = before.main, after.main
    if first is None or second is None:
        raise QuantizationError(f"{before.data!r} has nothing to measure {metric} on")
    return Accuracy(metric, first, second, before.images, before.data)
