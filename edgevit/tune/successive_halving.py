"""Successive halving: all candidates get a few predictions, the better ones more.

Every round measures the candidates that are left in turn, so that a slow minute of the machine
meets all of them alike. After it the worse ones go: most of them, and whatever is far behind the
best. Those that are accurate enough are told apart before the last round, which is the long one.

Source: K. Jamieson and A. Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization", 2016 (arXiv:1502.07943).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil

from edgevit.errors import EdgeVitError
from edgevit.tune.candidate import Candidate
from edgevit.tune.measurement import Measurer, Record

Score = Callable[[Record], tuple[bool, float]]  # slack multiplies the second
Admit = Callable[[Record], bool]


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
) -> list[Record]:
    """Measure the candidates, the promising ones longer.

    Args:
        candidates: all that are to be measured at least once.
        measurer: predicts with a candidate and times it.
        score: gives a record's figure; the smallest is the best.
        admit: says whether a candidate is accurate enough, and notes that in the record; asked for
            few.
        check_time: called before each turn; raises OutOfTime to end the search.
        progress: called with what is done, how many turns of it, and of how many.

    Returns:
        A record of every candidate; those that came to the last round have by far the most
        predictions. Where the time ended before, the last rounds are missing.
    """
    records = [Record(candidate) for candidate in candidates]
    try:
        _search(records, measurer, score, admit, check_time, progress)
    except OutOfTime:
        progress("out of time", 1, 1)
    return records


def _search(
    records: list[Record],
    measurer: Measurer,
    score: Score,
    admit: Admit,
    check_time: Callable[[], object],
    progress: Callable[[str, int, int], object],
) -> None:
    alive = records
    for number, stage in enumerate(ROUNDS, 1):
        what = f"round {number}: {len(alive)} candidates"
        alive = _measured(alive, measurer, stage, check_time, partial(progress, what))
        alive = _best(alive, score, stage)
    finalists = _admitted(_from_best(alive, records, score), score, admit, check_time)
    measurer.isolate([record.candidate for record in finalists])
    what = f"final: {len(finalists)} candidates"
    _measured(finalists, measurer, FINAL, check_time, partial(progress, what))


def _measured(
    alive: list[Record],
    measurer: Measurer,
    stage: Round,
    check_time: Callable[[], object],
    progress: Callable[[int, int], object],
) -> list[Record]:
    """Let them take turns, in another order each time; those that failed are left out after.

    In the first round they keep their order: what shares a session is loaded once.
    """
    order = random.Random(0)
    mixed = all(record.samples for record in alive)
    turns = [
        record
        for _ in range(stage.blocks)
        for record in (order.sample(alive, len(alive)) if mixed else alive)
    ]
    for done, record in enumerate(turns, 1):
        check_time()
        if record.problem is None:
            try:
                record.samples.append(measurer.measure(record.candidate, stage.runs))
            except EdgeVitError as exc:
                record.problem = str(exc)
        progress(done, len(turns))
    return [record for record in alive if record.problem is None]


def _best(alive: list[Record], score: Score, stage: Round) -> list[Record]:
    ranked = sorted(alive, key=score)
    count = max(FINALISTS, ceil(len(ranked) * stage.share))
    near = [r for r in ranked[:count] if not _is_far(score(r), score(ranked[0]), stage)]
    return near if len(near) >= PAIR else ranked[:PAIR]


def _is_far(score: tuple[bool, float], best: tuple[bool, float], stage: Round) -> bool:
    return score > (best[0], stage.slack * best[1])


def _from_best(alive: list[Record], records: list[Record], score: Score) -> list[Record]:
    """All that can be run: those that are left, then those that went, the best of each first."""
    gone = [r for r in records if r not in alive and r.samples and r.problem is None]
    return sorted(alive, key=score) + sorted(gone, key=score)


def _admitted(
    ranked: list[Record], score: Score, admit: Admit, check_time: Callable[[], object]
) -> list[Record]:
    """The best that are accurate enough, and apart from a second not far behind the best."""
    finalists: list[Record] = []
    for record in ranked:
        if len(finalists) == FINALISTS:
            break
        if len(finalists) >= PAIR and _is_far(score(record), score(finalists[0]), ROUNDS[-1]):
            break
        check_time()
        if admit(record):
            finalists.append(record)
    return finalists
