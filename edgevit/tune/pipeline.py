"""Search the best way to run a model on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

from edgevit.core.image.files import evenly_spaced
from edgevit.core.model.task import TASKS
from edgevit.core.runtime.profile import mark
from edgevit.errors import InputError
from edgevit.evaluate import DataSet
from edgevit.tune.accuracy import Gate, evaluator_for
from edgevit.tune.candidate import Candidate
from edgevit.tune.convert import CONVERTERS, Converter
from edgevit.tune.inputs import (
    MEASURED_PICTURES,
    Choices,
    Model,
    model_paths,
    read_specs,
    reference_of,
    runnable_files,
    space_of,
    usable_devices,
)
from edgevit.tune.measure import Pictures, ProcessMeasurer
from edgevit.tune.measurement import Measurer, Record
from edgevit.tune.report import Goal, TuneReport, report_of
from edgevit.tune.save_profiles import keep_profiles
from edgevit.tune.successive_halving import FINALISTS, OutOfTime, halve

Progress = Callable[[str, int, int], object]


def search(
    models: Model | Sequence[Model],
    data: DataSet | str | os.PathLike[str],
    *,
    goal: Goal | None = None,
    choices: Choices | None = None,
    image_size: tuple[int, int] | None = None,
    keep: bool = True,
    converters: Mapping[str, Converter] = CONVERTERS,
    progress: Progress = lambda what, done, total: None,
) -> TuneReport:
    """Find the best way to run one of some models here, by measuring, and keep it.

    Candidates run in processes of their own, in turn (`edgevit.tune.successive_halving`); accuracy
    is evaluated, in this process, of those that are fast enough to be chosen
    (`edgevit.tune.accuracy`). A variant of another input size is one more model: the size of an
    exported file cannot be changed on a device.

    Args:
        models: ONNX files or zoo names, variants for one task and the same classes; the first one
            is the reference. None for the bundled classifier.
        data: a data set as `edgevit.evaluate` takes it, or its folder.
        goal: objective, limits and time; None for the lowest latency within one point.
        choices: what to vary; None for everything.
        image_size: (height, width) in pixels that the pictures are stretched to for the times, such
            as a camera's frames; None for their own.
        keep: whether to write device profiles, which Predictor obeys.
        converters: what makes a precision of a float32 file.
        progress: called with what is done, how far it is, and of how much. What it raises ends the
            search, as KeyboardInterrupt does; nothing is kept then.

    Returns:
        The choice, and everything that was measured.

    Raises:
        ModelNotFoundError: if a model is not there.
        InputError: if the models do not belong together, the data does not fit, nothing can be
            converted as wanted, or the time does not even suffice for the reference.
        BackendError: if no backend can be used.
    """
    clock = Clock(goal or Goal(), progress)
    choices = choices or Choices()
    paths = model_paths(models)
    specs = read_specs(paths)
    marks = [mark(path) for path in paths]
    data = DataSet.of(data)
    devices, notes = usable_devices(choices)
    found = data.image_paths()
    files, left_out = runnable_files(paths, found, choices, converters, clock.say)
    space = space_of(files, devices, choices, has_streams=clock.goal.objective == "throughput")
    pictures = Pictures(tuple(evenly_spaced(found, MEASURED_PICTURES)), image_size)
    mapped = clock.goal.objective == "throughput"
    processes = len(devices) + FINALISTS
    with ProcessMeasurer(pictures, mapped=mapped, spare=processes) as measurer:
        gate = _gate(data, reference_of(paths[0], files[0].precision, devices), clock)
        records = _measure(space.candidates(), measurer, gate, clock)
    report = report_of(
        records,
        clock.goal,
        task=specs[0].task,
        figure=TASKS[specs[0].task].metric,
        reference_accuracy=gate.reference,
        data=str(data.folder),
        notes=[*notes, *left_out],
        is_complete=not clock.is_over,
        spent_s=clock.spent_s,
    )
    return keep_profiles(report, marks, specs) if keep else report


class Clock:
    """The time budget, between the search and whoever watches its progress."""

    def __init__(self, goal: Goal, progress: Progress) -> None:
        """Start it."""
        self.goal = goal
        self.is_over = False
        self._progress = progress
        self._started = perf_counter()

    @property
    def spent_s(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self._started

    def check(self) -> None:
        """Raise OutOfTime once the budget is spent."""
        if self.spent_s > self.goal.budget_s:
            self.is_over = True
            raise OutOfTime

    def progress(self, what: str, done: int, total: int) -> None:
        """Report progress of what may be given up, such as an evaluation."""
        self.report(what, done, total)
        self.check()

    def report(self, what: str, done: int, total: int) -> None:
        """Report progress."""
        self._progress(what, done, total)

    def say(self, what: str) -> None:
        """Report the beginning of a step of unknown length."""
        self.report(what, 0, 1)


def _gate(data: DataSet, reference: Candidate, clock: Clock) -> Gate:
    try:
        return Gate(evaluator_for(data), reference, clock.goal.max_drop, clock.progress)
    except OutOfTime as exc:
        raise InputError(
            f"{clock.goal.budget_s:g} s do not suffice to convert the models and to evaluate the "
            "reference; allow more time, or evaluate fewer pictures"
        ) from exc


def _measure(
    candidates: Sequence[Candidate], measurer: Measurer, gate: Gate, clock: Clock
) -> list[Record]:
    records = halve(
        candidates,
        measurer,
        clock.goal.score,
        gate,
        check_time=clock.check,
        progress=clock.report,
    )
    for record in records:
        gate.note(record)
    return records
