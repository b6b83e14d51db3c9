"""Successive halving: all candidates get a few predictions, the better ones more.

Every round measures the candidates that are left in turn, so that a slow minute of the machine
meets all of them alike. After it the worse ones go: most of them, and whatever is far behind the
best. Those that are accurate enough are told apart before the last round, which is the long one.

Source: K. Jamieson and A. Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization", 2016 (arXiv:1502.07943).
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from edgevit.errors import EdgeVitError
from edgevit.tune.candidate import Candidate
from edgevit.tune.measure import Measurer
from edgevit.tune.measurement import Measurement

Score = Callable[[Measurement], tuple[bool, float]]  # slack multiplies the second
Admit = Callable[[Measurement], bool]


@dataclass(frozen=True, slots=True)
class Round:
    """One round of the search.

    Args:
        blocks: how often the candidates take turns.
        runs: predictions in each turn.
        share: of the candidates that stay, at most.
        slack: those whose score is more than this times the best go as well.
    """

    blocks: int
    runs: int
    share: float
    slack: float


FINALISTS = 3  # that the rounds before the last leave, if there are so many
PAIR = 2  # finalists, however far behind the second is: few predictions may be wrong about it
ROUNDS = (Round(1, 6, 1 / 3, 2.0), Round(1, 15, 1 / 3, 1.25))
FINAL = Round(5, 20, 1, float("inf"))


class OutOfTime(Exception):  # noqa: N818 - a signal between functions of this package
    """The time budget has ended."""


def halve(
    candidates: Sequence[Candidate],
    measurer: Measurer,
    score: Score,
    admit: Admit,
    *,
    check_time: Callable[[], object] = lambda: None,
    progress: Callable[[str, int, int], object] = lambda what, done, total: None,
) -> list[Measurement]:
    """Measure the candidates, the promising ones longer.

    Args:
        candidates: all that are to be measured at least once.
        measurer: predicts with a candidate and times it.
        score: gives a measurement's figure; the smallest is the best.
        admit: says whether a candidate is accurate enough, and notes that in its measurement; asked
            for few.
        check_time: called before each turn; raises OutOfTime to end the search.
        progress: called with what is done, how many turns of it, and of how many.

    Returns:
        A measurement of every candidate; those that came to the last round have by far the most
        predictions. Where the time ended before, the last rounds are missing.
    """
    measurements = [Measurement(candidate) for candidate in candidates]
    try:
        _Search(measurer, score, admit, check_time, progress).run(measurements)
    except OutOfTime:
        progress("out of time", 1, 1)
    return measurements


@dataclass(frozen=True, slots=True)
class _Search:
    """What every round needs; see `halve`."""

    measurer: Measurer
    score: Score
    admit: Admit
    check_time: Callable[[], object]
    progress: Callable[[str, int, int], object]

    def run(self, measurements: list[Measurement]) -> None:
        alive = measurements
        for number, stage in enumerate(ROUNDS, 1):
            alive = self._measured(alive, stage, f"round {number}: {len(alive)} candidates")
            alive = self._best(alive, stage)
        finalists = self._admitted(self._from_best(alive, measurements))
        self.measurer.isolate([one.candidate for one in finalists])
        self._measured(finalists, FINAL, f"final: {len(finalists)} candidates")

    def _measured(self, alive: list[Measurement], stage: Round, what: str) -> list[Measurement]:
        """Let them take turns, in another order each time; those that failed are left out after.

        In the first round they keep their order: what shares a session is loaded once.
        """
        order = random.Random(0)
        mixed = all(one.samples for one in alive)
        turns = [
            one
            for _ in range(stage.blocks)
            for one in (order.sample(alive, len(alive)) if mixed else alive)
        ]
        for done, one in enumerate(turns, 1):
            self.check_time()
            if one.problem is None:
                try:
                    one.samples.append(self.measurer.measure(one.candidate, stage.runs))
                except EdgeVitError as exc:
                    one.problem = str(exc)
            self.progress(what, done, len(turns))
        return [one for one in alive if one.problem is None]

    def _best(self, alive: list[Measurement], stage: Round) -> list[Measurement]:
        ranked = sorted(alive, key=self.score)
        count = max(FINALISTS, ceil(len(ranked) * stage.share))
        near = [one for one in ranked[:count] if not self._is_far(one, ranked[0], stage)]
        return near if len(near) >= PAIR else ranked[:PAIR]

    def _is_far(self, one: Measurement, best: Measurement, stage: Round) -> bool:
        is_late, figure = self.score(best)
        return self.score(one) > (is_late, stage.slack * figure)

    def _from_best(
        self, alive: list[Measurement], measurements: list[Measurement]
    ) -> list[Measurement]:
        """All that can be run: those that are left, then those that went, both from the best."""
        left = {one.candidate for one in alive}
        gone = [
            one
            for one in measurements
            if one.candidate not in left and one.samples and one.problem is None
        ]
        return sorted(alive, key=self.score) + sorted(gone, key=self.score)

    def _admitted(self, ranked: list[Measurement]) -> list[Measurement]:
        """The best that are accurate enough, and apart from a second not far behind the best."""
        finalists: list[Measurement] = []
        for one in ranked:
            if len(finalists) == FINALISTS:
                break
            if len(finalists) >= PAIR and self._is_far(one, finalists[0], ROUNDS[-1]):
                break
            self.check_time()
            if self.admit(one):
                finalists.append(one)
        return finalists
