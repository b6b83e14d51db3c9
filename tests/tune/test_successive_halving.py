from pathlib import Path

import numpy as np
import pytest

from edgevit.backend import TuningOptions
from edgevit.errors import InferenceError
from edgevit.tune.candidate import ModelFile, Space
from edgevit.tune.inputs import Runtime
from edgevit.tune.measurement import Sample
from edgevit.tune.report import Goal, report_of
from edgevit.tune.successive_halving import FINALISTS, OutOfTime, halve

SWEEP_RUNS = 200  # predictions of each candidate in an exhaustive sweep
MODEL = Path("model.onnx")


def space(precisions=("fp32", "fp16", "int8"), threads=(1, 2, 4)):
    files = [ModelFile(MODEL, Path(f"{precision}.onnx"), precision) for precision in precisions]
    spinning = TuningOptions({"until-done": {}, "always": {}, "never": {}})
    runtimes = {
        "onnxruntime": Runtime(["cpu"], spinning),
        "openvino": Runtime(["cpu"], TuningOptions({"default": {}, "pinned": {}})),
    }
    return Space(files, runtimes, threads).candidates()


class Simulated:
    """Candidates of known speed on a machine with noise, bursts, and slower and faster times."""

    def __init__(self, candidates, seed=0, broken=()):
        self.random = np.random.default_rng(seed)
        factors = self.random.uniform(1, 4, len(candidates))
        self.base_ms = dict(zip(candidates, 5 * factors, strict=True))
        self.broken = broken
        self.runs = 0
        self.isolated = []

    def measure(self, candidate, runs):
        if candidate in self.broken:
            raise InferenceError("an operator is unknown")
        self.runs += runs
        drift = 1 + 0.1 * np.sin(self.runs / 300)
        noise = self.random.lognormal(0, 0.05, runs)
        bursts = np.where(self.random.random(runs) < 0.03, 2, 1)
        times = self.base_ms[candidate] * drift * noise * bursts
        return Sample(tuple(times), 2 * times.mean(), 1e3 / times.mean())

    def isolate(self, finalists):
        self.isolated = finalists


def run(candidates, measurer, admit=None, goal=None, **more):
    def accept(record):
        record.accuracy = 0.9
        return admit is None or admit(record)

    goal = goal or Goal()
    records = halve(candidates, measurer, goal.score, accept, **more)
    facts = {"task": "classify", "figure": "top1", "reference_accuracy": 0.9, "data": "photos"}
    return report_of(records, goal, notes=[], is_complete=True, spent_s=1.0, **facts)


@pytest.mark.parametrize("seed", range(12))
def test_it_finds_nearly_the_best_in_a_fifth_of_the_predictions_of_a_sweep(seed):
    candidates = space()
    measurer = Simulated(candidates, seed)
    choice = run(candidates, measurer).choice
    assert measurer.base_ms[choice.candidate] <= 1.05 * min(measurer.base_ms.values())
    assert measurer.runs <= SWEEP_RUNS * len(candidates) / 5


@pytest.mark.parametrize("objective", ["latency", "throughput", "energy-proxy"])
def test_every_objective_finds_its_best(objective):
    candidates = space()
    measurer = Simulated(candidates, 1)
    choice = run(candidates, measurer, goal=Goal(objective)).choice
    assert measurer.base_ms[choice.candidate] <= 1.05 * min(measurer.base_ms.values())


def test_only_the_fast_ones_are_asked_for_accuracy():
    candidates = space()
    asked = []
    run(candidates, Simulated(candidates), lambda record: asked.append(record) or True)
    assert len(asked) <= FINALISTS < len(candidates) / 5


def test_what_is_not_accurate_enough_makes_room_for_what_is():
    candidates = space()
    measurer = Simulated(candidates)
    for candidate in measurer.base_ms:  # all of the fast ones answer wrongly
        measurer.base_ms[candidate] = 5.0 if candidate.file.precision == "int8" else 9.0

    def is_right(record):
        if record.candidate.file.precision == "int8":
            record.problem = "loses 9 points"
        return record.problem is None

    report = run(candidates, measurer, is_right)
    assert report.choice.candidate.file.precision != "int8"
    assert {candidate.file.precision for candidate in measurer.isolated} <= {"fp32", "fp16"}


def test_nothing_accurate_is_no_choice():
    candidates = space(["fp32"], [1])

    def refuse(record):
        record.problem = "loses 2 points"
        return False

    report = run(candidates, Simulated(candidates), refuse)
    assert report.choice is None
    assert report.reason == "none of 4 candidates could be shown to lose at most 1 points"


def test_a_limit_comes_before_the_objective():
    candidates = space(["fp32"], [1])
    measurer = Simulated(candidates)
    report = run(candidates, measurer, goal=Goal(p95_ms=1))
    assert report.choice is None
    assert "answers within 1 ms (95th percentile); the best, model fp32 on" in report.reason


def test_candidates_that_cannot_be_run_are_named():
    candidates = space()
    report = run(candidates, Simulated(candidates, broken=candidates[:5]))
    assert report.failed == [(c, "an operator is unknown") for c in candidates[:5]]
    assert report.choice.candidate in candidates[5:]


def test_no_candidate_can_be_run():
    candidates = space(["fp32"], [1])
    report = run(candidates, Simulated(candidates, broken=candidates))
    assert (report.choice, report.rows, len(report.failed)) == (None, [], 4)


def test_the_end_of_the_time_ends_the_search():
    candidates = space()
    measurer = Simulated(candidates)

    def check_time():
        if measurer.runs > 50:
            raise OutOfTime

    said = []
    report = run(
        candidates,
        measurer,
        check_time=check_time,
        progress=lambda what, done, total: said.append(what),
    )
    assert report.choice is None
    assert measurer.runs < 60
    assert said[-1] == "out of time"


def test_progress_counts_the_turns():
    candidates = space(["fp32"], [1])
    said = []
    run(candidates, Simulated(candidates), progress=lambda *step: said.append(step))
    assert said[:2] == [("round 1: 4 candidates", 1, 4), ("round 1: 4 candidates", 2, 4)]
    assert said[-1][1] == said[-1][2]
