"""Which candidates are accurate enough.

The reference is the first model that was given, as its file is (normally float32), with `exact`
preprocessing. A candidate is accurate enough if its main figure on the same images, top-1 of
classifiers, AP (of boxes) of detectors, mIoU of segmenters, is at most `max_drop` percentage points
below the reference's. Threads, spinning and streams change no answer, so candidates that differ in
nothing else are evaluated once.
"""

from collections.abc import Callable, Iterable

from edgevit.errors import EdgeVitError, InputError
from edgevit.evaluate import DataSet, evaluate
from edgevit.predictor import Predictor
from edgevit.tune.candidate import Candidate
from edgevit.tune.measurement import Measurement

ROUNDING = 1e-9  # of shares that are computed in floating point

Progress = Callable[[str, int, int], object]
Evaluator = Callable[[Candidate, Progress], float]


class AccuracyGate:
    """Evaluates what asks for it, once, and lets pass what is accurate enough."""

    def __init__(
        self, evaluator: Evaluator, reference: Candidate, max_drop: float, progress: Progress
    ) -> None:
        """Evaluate the reference.

        Args:
            evaluator: answers a candidate's main figure, 0-1.
            reference: what the others are compared with.
            max_drop: percentage points that a candidate may be below it.
            progress: called with what is done, how far it is, and of how much.
        """
        self._evaluator = evaluator
        self._max_drop = max_drop
        self._progress = progress
        self._known: dict[object, float | EdgeVitError] = {}
        self.reference = evaluator(reference, progress)
        self._known[reference.answers] = self.reference

    def __call__(self, measured: Measurement) -> bool:
        """Evaluate a candidate, note its accuracy, and why it is out if it is."""
        figure = self._figure(measured.candidate)
        if isinstance(figure, EdgeVitError):
            measured.problem = f"cannot be evaluated: {figure}"
            return False
        measured.accuracy = figure
        drop = 100 * (self.reference - figure)
        if drop <= self._max_drop + ROUNDING:
            return True
        measured.problem = f"loses {drop:.2f} points of accuracy, more than {self._max_drop:g}"
        return False

    def note(self, measurements: Iterable[Measurement]) -> None:
        """Note the accuracy of those whose answers are another evaluated candidate's."""
        for measured in measurements:
            known = self._known.get(measured.candidate.answers)
            if isinstance(known, float) and measured.problem is None:
                self(measured)

    def _figure(self, candidate: Candidate) -> float | EdgeVitError:
        if candidate.answers not in self._known:
            try:
                self._known[candidate.answers] = self._evaluator(candidate, self._progress)
            except EdgeVitError as exc:
                self._known[candidate.answers] = exc
        return self._known[candidate.answers]


def evaluator_for(data: DataSet) -> Evaluator:
    """Make what evaluates candidates on a data set."""

    def figure(candidate: Candidate, progress: Progress) -> float:
        path, backend, device, mode = candidate.answers
        what = f"accuracy of {path.stem} on {backend}, {mode}"
        with Predictor(path, backend=backend, device=device, preprocess=mode) as predictor:
            report = evaluate(predictor, data, progress=lambda d, t: progress(what, d, t))
        _, value = report.main
        if value is None:
            raise InputError(f"the data {str(data.folder)!r} has nothing to measure accuracy on")
        return value

    return figure
