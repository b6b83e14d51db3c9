"""What an evaluation answers, and the loop that all tasks share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, TypeVar

from edgevit.core.model.task import TASKS
from edgevit.core.tasks.results import Result

Item = TypeVar("Item")
Answer = TypeVar("Answer", bound=Result)
Progress = Callable[[int, int], object]
ClassFigures = Mapping[str, str | int | float | None]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one task's measure found.

    Args:
        overall: figures over the whole data set, 0-1; None where the data has nothing for one.
        per_class: for each class `class_id`, `class_name`, how much of it the data has (`images`,
            `boxes` or `pixels`), and its own figures, 0-1 or None.
        notes: what a reader of the figures should know.
    """

    overall: Mapping[str, float | None]
    per_class: Sequence[ClassFigures]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What `evaluate` measured.

    Args:
        model: name in the spec.
        path: the model file.
        backend: backend name.
        device: device name.
        preprocess: `exact` or `fast`.
        task: `classify`, `detect` or `segment`.
        data: the data set's folder.
        split: the part of it, or None.
        images: number of images answered.
        overall: see `Figures`.
        per_class: see `Figures`.
        notes: see `Figures`.
        timings_ms: medians over the images of `preprocess` (reading and decoding the file
            included), `infer` and `postprocess`, in milliseconds.
    """

    model: str
    path: str
    backend: str
    device: str
    preprocess: str
    task: str
    data: str
    split: str | None
    images: int
    overall: Mapping[str, float | None]
    per_class: Sequence[ClassFigures]
    notes: Sequence[str]
    timings_ms: Mapping[str, float]

    @property
    def main(self) -> tuple[str, float | None]:
        """The figure that stands for the model's accuracy: its name in `overall`, and its value."""
        metric = TASKS[self.task].metric
        return metric, self.overall[metric]

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as plain values that `json.dumps` takes, by name."""
        return asdict(self)


class TimedLoop:
    """Answers samples one after the other; keeps the times and tells how far it is."""

    def __init__(self, progress: Progress) -> None:
        """Tell `progress` after each sample how many are done, and of how many."""
        self._progress = progress
        self.timings: list[Mapping[str, float]] = []

    def answers(
        self, samples: Sequence[Item], predict: Callable[[Item], Answer]
    ) -> Iterator[tuple[Item, Answer]]:
        """Yield each sample with what `predict` answers for it."""
        for done, sample in enumerate(samples, 1):
            result = predict(sample)
            self.timings.append(result.timings_ms)
            yield sample, result
            self._progress(done, len(samples))

    def medians_ms(self) -> dict[str, float]:
        """Median over the samples of each stage's time, in milliseconds, by the stage's name."""
        return {stage: median(times[stage] for times in self.timings) for stage in self.timings[0]}
