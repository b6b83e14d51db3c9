from pathlib import Path

import pytest

from edgevit.errors import InputError
from edgevit.tune.accuracy import AccuracyGate
from edgevit.tune.candidate import Candidate, ModelFile
from edgevit.tune.measurement import Measurement, Sample
from edgevit.tune.report import Goal, ranked


def candidate(name, threads=1):
    return Candidate(
        ModelFile(Path("a"), Path(name), "fp32"), "openvino", "cpu", threads, "default", "exact"
    )


FIGURES = {"reference": 0.90, "edge": 0.89, "below": 0.8899, "better": 0.95}


class Evaluator:
    def __init__(self):
        self.asked = []

    def __call__(self, candidate, progress):
        name = candidate.file.path.name
        self.asked.append(name)
        if name not in FIGURES:
            raise InputError("the picture cannot be read")
        return FIGURES[name]


@pytest.fixture
def evaluator():
    return Evaluator()


@pytest.fixture
def gate(evaluator):
    return AccuracyGate(evaluator, candidate("reference"), 1.0, lambda what, done, total: None)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("reference", None),
        ("better", None),
        ("edge", None),
        ("below", "loses 1.01 points of accuracy, more than 1"),
        ("broken", "cannot be evaluated: the picture cannot be read"),
    ],
)
def test_at_most_so_many_points_may_be_lost(gate, name, problem):
    record = Measurement(candidate(name))
    assert gate(record) == (problem is None)
    assert record.problem == problem
    assert record.accuracy == FIGURES.get(name)


def test_threads_change_no_answer_and_are_evaluated_once(gate, evaluator):
    assert gate(Measurement(candidate("edge", 1)))
    assert gate(Measurement(candidate("edge", 2)))
    assert evaluator.asked == ["reference", "edge"]


def test_what_is_known_anyway_is_noted_and_nothing_else(gate, evaluator):
    known, unknown = Measurement(candidate("reference", 2)), Measurement(candidate("edge"))
    gate.note([known, unknown])
    assert (known.accuracy, unknown.accuracy) == (0.90, None)
    assert evaluator.asked == ["reference"]


def test_pareto_rows_are_those_that_none_beats_in_both():
    points = [(5, 0.9), (4, 0.8), (4, 0.7), (6, 0.9), (3, None)]
    records = [
        Measurement(candidate(str(n)), [Sample((time,) * 50, 1, 1)], accuracy)
        for n, (time, accuracy) in enumerate(points)
    ]
    pareto = [row.candidate.file.path.name for row in ranked(records, Goal()) if row.is_pareto]
    assert pareto == ["1", "0"]


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"objective": "latencies"}, "did you mean 'latency'"),
        ({"max_drop": -1}, "max_drop must be from 0"),
        ({"p95_ms": 0}, "p95_ms must be more than 0"),
        ({"budget_s": -3}, "budget_s must be more than 0"),
    ],
    ids=str,
)
def test_goals_that_cannot_be_are_refused(wrong, match):
    with pytest.raises(InputError, match=match):
        Goal(**wrong)
