"""Search the best way to run a model on this machine."""

import os
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

from edgevit.core.image.files import evenly_spaced
from edgevit.core.model.task import TASKS
from edgevit.errors import InputError
from edgevit.evaluate import DataSet
from edgevit.tune.accuracy import AccuracyGate, evaluator_for
from edgevit.tune.candidate import Candidate, space_of
from edgevit.tune.convert import CONVERTERS, Converter, runnable_files
from edgevit.tune.inputs import Choices, Model, read_inputs
from edgevit.tune.measure import Images, Measurer
from edgevit.tune.report import Goal, TuneReport, report_of
from edgevit.tune.save_profiles import save_profiles
from edgevit.tune.successive_halving import FINALISTS, OutOfTime, halve

MEASURED_IMAGES = 8
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
        image_size: (height, width) in pixels that the images are stretched to for the times, such
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
    budget = Budget(goal or Goal(), progress)
    choices = choices or Choices()
    inputs = read_inputs(models, data, choices)
    files, left_out = runnable_files(
        inputs, choices.precisions, converters=converters, say=budget.say
    )
    is_mapped = budget.goal.objective == "throughput"
    space = space_of(files, inputs.runtimes, choices, has_streams=is_mapped)
    images = Images(tuple(evenly_spaced(inputs.images, MEASURED_IMAGES)), image_size)
    processes = len(inputs.runtimes) + FINALISTS
    with Measurer(images, mapped=is_mapped, spare=processes) as measurer:
        gate = _gate(inputs.data, space.reference, budget)
        measurements = halve(
            space.candidates(),
            measurer,
            budget.goal.score,
            gate,
            check_time=budget.check,
            progress=budget.report,
        )
    gate.note(measurements)
    task = inputs.models[0].spec.task
    report = report_of(
        measurements,
        budget.goal,
        task=task,
        figure=TASKS[task].metric,
        reference_accuracy=gate.reference,
        data=str(inputs.data.folder),
        notes=[*inputs.notes, *left_out],
        is_complete=not budget.is_over,
        spent_s=budget.spent_s,
    )
    return save_profiles(report, inputs.models) if keep else report


class Budget:
    """The time for a search, which runs from when this is made, and whoever watches it."""

    def __init__(self, goal: Goal, progress: Progress) -> None:
        """Start it."""
        self.goal = goal
        self.is_over = False
        self.report = progress
        self._started = perf_counter()

    @property
    def spent_s(self) -> float:
        """Seconds since this was made."""
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

    def say(self, what: str) -> None:
        """Report the beginning of a step of unknown length."""
        self.report(what, 0, 1)


def _gate(data: DataSet, reference: Candidate, budget: Budget) -> AccuracyGate:
    try:
        return AccuracyGate(evaluator_for(data), reference, budget.goal.max_drop, budget.progress)
    except OutOfTime as exc:
        raise InputError(
            f"{budget.goal.budget_s:g} s do not suffice to convert the models and to evaluate the "
            "reference; allow more time (`budget_s`), or evaluate fewer images (`limit`)"
        ) from exc
