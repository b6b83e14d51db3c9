"""How accurate models are: as measured on a data set, or as the model zoo states it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from edgevit.benchmark import Accuracy, BenchmarkReport
from edgevit.core.model.precision import precision_of
from edgevit.evaluate import DataSet, evaluate
from edgevit.predictor import Predictor
from edgevit.zoo import find_model, load_zoo

# What the zoo's models are; another precision has its own accuracy.
STATED_FOR = ("fp32", "fp16-weights")

Progress = Callable[[str, int, int], object]


def stated_accuracy(model: str | Path | None) -> Accuracy | None:
    """Look a model's accuracy up in the zoo.

    Returns:
        None where the file is not the zoo's, or the zoo states several for it.
    """
    path = find_model(model).resolve()
    for entry in load_zoo().values():
        files = (entry.bundled,) if entry.bundled else entry.checkpoints
        values = {file.accuracy for file in files}
        is_it = entry.file.resolve() == path and precision_of(path) in STATED_FOR
        if is_it and len(values) == 1:
            return Accuracy(entry.metric, values.pop() / 100, "stated by the model zoo")
    return None


def measured_accuracies(
    reports: Sequence[BenchmarkReport], data: DataSet, progress: Progress
) -> list[Accuracy | None]:
    """Evaluate every candidate; those that differ in threads alone answer the same, and share it.

    Args:
        reports: of the candidates.
        data: the data set.
        progress: called with what is evaluated, how many images are done, and of how many.

    Returns:
        The task's main figure for each report; None where the data has nothing for it.
    """
    found: dict[tuple[str, ...], Accuracy | None] = {}
    for report in reports:
        same = (report.path, report.backend, report.device, report.preprocess)
        if same not in found:
            found[same] = _measure(report, data, progress)
    return [found[r.path, r.backend, r.device, r.preprocess] for r in reports]


def _measure(report: BenchmarkReport, data: DataSet, progress: Progress) -> Accuracy | None:
    phase = f"accuracy of {report.model} on {report.backend}"
    with Predictor(
        report.path,
        backend=report.backend,
        device=report.device,
        threads=report.threads,
        preprocess=report.preprocess,
    ) as predictor:
        evaluation = evaluate(
            predictor, data, progress=lambda done, total: progress(phase, done, total)
        )
    metric, value = evaluation.main
    if value is None:
        return None
    source = f"measured on {evaluation.images} images of {data.folder.resolve().name}"
    return Accuracy(metric, value, source)
