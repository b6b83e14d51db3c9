"""What a search found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgevit.errors import InputError, suggestion
from edgevit.tune.candidate import Candidate
from edgevit.tune.measurement import OBJECTIVES, RELIABLE, Measurement


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted.

    Args:
        objective: `latency` (the shortest slow predictions: the mean of their times between the
            85th and the 95th percentile, which is steadier than the latter alone),
            `throughput` (the most images per second with `Predictor.map`), or `energy-proxy` (the
            least processor time for an image: user and system time of all threads of the process
            over the number of images, predicted one after the other).
        max_drop: percentage points of accuracy that the choice may be below the reference.
        p95_ms: what the 95th percentile of the time of a prediction may be at most, milliseconds;
            None for any.
        budget_s: seconds that the search may take; the best found until then is chosen. Only a
            conversion that has begun is finished.

    Raises:
        InputError: if a value is not acceptable.
    """

    objective: str = "latency"
    max_drop: float = 1.0
    p95_ms: float | None = None
    budget_s: float = 600.0

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            names = list(OBJECTIVES)
            raise InputError(
                f"there is no objective {self.objective!r}{suggestion(self.objective, names)}; "
                f"there are {', '.join(names)}"
            )
        if not self.max_drop >= 0:
            raise InputError(f"max_drop must be from 0 points up, not {self.max_drop}")
        for name in ("p95_ms", "budget_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} must be more than 0, not {value}")

    def score(self, measured: Measurement) -> tuple[bool, float]:
        """What is to be small: first the limit must hold, then the objective counts."""
        time = measured.p95_ms if measured.is_reliable else measured.p50_ms
        is_late = self.p95_ms is not None and time > self.p95_ms
        return is_late, OBJECTIVES[self.objective](measured)


@dataclass(frozen=True, slots=True)
class TuneReport:
    """What `search` found.

    Args:
        goal: what was wanted.
        task: of the models.
        figure: name of the main figure of accuracy.
        reference_accuracy: main figure of the reference, 0-1.
        data: the data set's folder.
        rows: every candidate that was measured, the best first; what was given up earlier comes
            last.
        failed: why each candidate that could not be measured could not.
        notes: what was left out, and why.
        choice: the best row that keeps the accuracy and the limit; None where there is none.
        reason: why this choice, or why none, in a sentence.
        is_complete: whether the search came to its end before its time did.
        spent_s: seconds that it took.
        profiles: device profiles that were written.
    """

    goal: Goal
    task: str
    figure: str
    reference_accuracy: float
    data: str
    rows: Sequence[Measurement]
    failed: Sequence[tuple[Candidate, str]]
    notes: Sequence[str]
    choice: Measurement | None
    reason: str
    is_complete: bool
    spent_s: float
    profiles: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """Describe as JSON values: `choice` first, then what it rests on."""
        plain = {
            name: getattr(self, name)
            for name in (
                *("reason", "task", "figure", "reference_accuracy", "data"),
                *("is_complete", "spent_s"),
            )
        }
        return {
            "choice": None if self.choice is None else self.choice.to_dict(),
            "goal": asdict(self.goal),
            **plain,
            "candidates": [row.to_dict() for row in self.rows],
            "failed": [{**c.to_dict(), "problem": why} for c, why in self.failed],
            "notes": list(self.notes),
            "profiles": list(self.profiles),
        }


def report_of(
    measurements: Sequence[Measurement],
    goal: Goal,
    *,
    notes: Sequence[str],
    **facts: Any,  # the other fields of a TuneReport
) -> TuneReport:
    """Choose, and say why.

    Args:
        measurements: of every candidate, with or without samples.
        goal: the objective, which orders the candidates, and its bounds.
        notes: what was left out, and why.
        facts: the fields of a TuneReport that are not read off the measurements.
    """
    rows = ranked(measurements, goal)
    accurate = [row for row in rows if row.accuracy is not None and row.problem is None]
    # Where the time ended early, what few predictions say has to do.
    longest = [row for row in accurate if row.runs >= RELIABLE] or accurate
    within = [row for row in longest if goal.p95_ms is None or row.p95_ms <= goal.p95_ms]
    return TuneReport(
        goal=goal,
        rows=rows,
        failed=[
            (one.candidate, one.problem) for one in measurements if one.problem and not one.samples
        ],
        notes=notes,
        choice=within[0] if within else None,
        reason=_reason(goal, len(rows), longest, within),
        profiles=(),
        **facts,
    )


def _reason(
    goal: Goal, measured: int, accurate: list[Measurement], within: list[Measurement]
) -> str:
    if not accurate:
        return (
            f"none of {measured} candidates could be shown to lose at most {goal.max_drop:g} points"
        )
    if not within:
        return (
            f"no candidate that loses at most {goal.max_drop:g} points answers within "
            f"{goal.p95_ms:g} ms (95th percentile); the best, {accurate[0].candidate}, "
            f"takes {accurate[0].p95_ms:.2f} ms"
        )
    limit = "" if goal.p95_ms is None else f" and answer within {goal.p95_ms:g} ms"
    return (
        f"{FIGURES[goal.objective](within[0])}: {BEST[goal.objective]} of {measured} candidates, "
        f"of those that lose at most {goal.max_drop:g} points{limit}"
    )


# Objective -> its figure, and what the best one is.
FIGURES: Mapping[str, Callable[[Measurement], str]] = {
    "latency": lambda row: f"p95 {row.p95_ms:.2f} ms",
    "throughput": lambda row: f"{row.images_per_s:.1f} images/s",
    "energy-proxy": lambda row: f"{row.cpu_ms:.2f} ms of processor time for an image",
}
BEST: Mapping[str, str] = {
    "latency": "the shortest slow answers (85th to 95th percentile)",
    "throughput": "the most images per second",
    "energy-proxy": "the least processor time",
}


def ranked(measurements: Sequence[Measurement], goal: Goal) -> list[Measurement]:
    """Put what was measured in order: the best first, after it what was given up earlier.

    Args:
        measurements: of candidates, with or without samples; `is_pareto` is set.
        goal: the objective, which orders the candidates, and its bounds.
    """
    measured = [one for one in measurements if one.samples]
    measured.sort(key=lambda one: (not one.is_reliable, goal.score(one)))
    points = [(one.p95_ms, one.accuracy) for one in measured if one.accuracy is not None]
    for one in measured:
        one.is_pareto = _is_pareto(one.p95_ms, one.accuracy, points)
    return measured


def _is_pareto(p95_ms: float, accuracy: float | None, points: list[tuple[float, float]]) -> bool:
    if accuracy is None:
        return False
    return not any(
        (time <= p95_ms and figure >= accuracy) and (time < p95_ms or figure > accuracy)
        for time, figure in points
    )
