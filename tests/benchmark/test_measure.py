import json

import numpy as np
import pytest

from edgevit.backend import TensorInfo
from edgevit.benchmark import MATMUL, MATMUL_SIDE, Accuracy, Candidate, compare
from edgevit.core.runtime.registry import get_backend
from edgevit.errors import EdgeVitError, InputError, LoadError
from edgevit.testing import FakeBackend

PICTURE = np.full((20, 30, 3), 90, np.uint8)
SQUARE = (MATMUL_SIDE, MATMUL_SIDE)
IMAGE = TensorInfo("image", np.dtype("f4"), (1, 3, 8, 8))
LOGITS = TensorInfo("logits", np.dtype("f4"), (1, 3))


class Refusing(FakeBackend):
    """Knows no operator of a matrix product."""

    def load(self, model, *, device, options):
        if model == MATMUL:
            raise LoadError("the operator MatMul is unknown")
        return super().load(model, device=device, options=options)


class Diary:
    """Two fake backends that note whose session runs; `at` may interrupt the run of that number."""

    def __init__(self, at=None):
        self.names, self.at = [], at
        self.backends = {
            name: Refusing([IMAGE], [LOGITS], run=self.writer(name)) for name in ("one", "two")
        }

    def writer(self, name):
        def run(feeds):
            self.names.append(name)
            if len(self.names) == self.at:
                raise KeyboardInterrupt
            return {"logits": np.zeros((1, 3), np.float32)}

        return run


@pytest.fixture
def install(monkeypatch):
    """Let these backends be the registered ones."""

    def put(backends):
        for module in ("core.registry", "benchmark.arithmetic"):
            monkeypatch.setattr(f"edgevit.{module}.get_backend", backends.__getitem__)

    return put


def candidates(tiny, *backends, **arguments):
    return [Candidate(str(tiny), backend=name, **arguments) for name in backends]


def measure(*chosen, **arguments):
    return compare(chosen, PICTURE, **{"runs": 3, "warmup": 1, "starts": 0, **arguments})


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_the_matrix_product_is_one(name):
    pytest.importorskip(name, reason=f"{name} is not installed")
    session = get_backend(name).load(MATMUL, device="cpu", options={})
    rows = np.eye(*SQUARE, dtype=np.float32)
    assert np.array_equal(session.run({"rows": rows})["product"], np.full(SQUARE, 1 / MATMUL_SIDE))


def test_the_share_is_the_models_rate_over_the_matrix_products(tiny):
    (report,) = measure(*candidates(tiny, "onnxruntime", threads=1)).reports
    assert report.arithmetic.gflop == 18 / 1e9
    assert report.arithmetic.gflop_per_s == pytest.approx(18e-6 / report.stages_ms["runtime"].p50)
    assert report.arithmetic.share == pytest.approx(
        report.arithmetic.gflop_per_s / report.arithmetic.matrix_gflop_per_s
    )


def test_candidates_on_the_same_runtime_share_one_matrix_product(tiny, install):
    backend = FakeBackend([IMAGE], [LOGITS])
    install({"fake": backend})
    chosen = candidates(tiny, "fake", threads=1) + candidates(tiny, "fake", threads=2)
    measure(*chosen, *chosen, runs=7)
    products = [options for path, _, options in backend.loads if path == MATMUL]
    assert products == [{"threads": 1}, {"threads": 2}]
    loaded = zip(backend.sessions, backend.loads, strict=True)
    sessions = [session for session, (path, *_) in loaded if path == MATMUL]
    assert [session.runs for session in sessions] == [2 * 2, 2 * 2]  # in each of two rounds
    assert all(session.is_closed for session in backend.sessions)


def test_a_runtime_without_matrix_product_is_measured_all_the_same(tiny, install):
    install({"fake": Refusing([IMAGE], [LOGITS])})
    arithmetic = measure(*candidates(tiny, "fake")).reports[0].arithmetic
    assert arithmetic.gflop_per_s > 0
    assert (arithmetic.matrix_gflop_per_s, arithmetic.share) == (None, None)


def test_a_file_without_a_count_still_shows_the_machines_rate(tiny):
    dynamic = candidates(tiny.with_name("tiny_dynamic.onnx"), "onnxruntime")
    arithmetic = measure(*dynamic).reports[0].arithmetic
    assert (arithmetic.gflop, arithmetic.gflop_per_s, arithmetic.share) == (None, None, None)
    assert arithmetic.matrix_gflop_per_s > 0


def test_candidates_take_turns_that_begin_with_a_run_that_does_not_count(tiny, install):
    diary = Diary()
    install(diary.backends)
    comparison = measure(*candidates(tiny, "one", "two"), runs=7, warmup=2)
    turns = [1 + 2 * pairs for pairs in (2, 5, 2)]  # warm-up, then seven pairs in two rounds
    maps = 3 * 3
    assert [r.runs for r in comparison.reports] == [7, 7]
    assert {name: diary.names.count(name) for name in diary.backends} == {
        name: sum(turns) + maps for name in ("one", "two")
    }
    start = 2 * turns[0]
    for length in turns[1:]:  # each in one piece, in whichever order
        pieces = [set(diary.names[start + n * length :][:length]) for n in (0, 1)]
        assert sorted(map(sorted, pieces)) == [["one"], ["two"]]
        start += 2 * length


def test_progress_counts_every_phase_to_its_end(tiny, install):
    install(Diary().backends)
    seen = []
    measure(*candidates(tiny, "one", "two"), progress=lambda *what: seen.append(what))
    assert seen == [
        *(("runs", done, 6) for done in (3, 6)),
        *(("map", done, 3) for done in (1, 2, 3)),
    ]


def test_an_interrupt_leaves_what_was_measured(tiny, install):
    install(Diary(at=50).backends)  # in a turn of the second round
    comparison = measure(*candidates(tiny, "one", "two"), runs=100, warmup=0)
    assert comparison.is_interrupted
    assert all(5 <= report.runs <= 14 for report in comparison.reports)
    assert all(report.mapped_images_per_s is None for report in comparison.reports)


def test_an_interrupt_before_every_candidate_had_a_turn_is_one(tiny, install):
    install(Diary(at=4).backends)
    with pytest.raises(KeyboardInterrupt):
        measure(*candidates(tiny, "one", "two"), warmup=0)


def test_a_new_process_tells_its_first_answer_and_its_memory(tiny):
    (report,) = measure(*candidates(tiny, "onnxruntime"), starts=1).reports
    assert report.first_answer_ms > 0
    assert report.rss_peak_mib >= report.rss_mib > report.rss_growth_mib


def test_a_new_process_that_fails_says_why(tiny, install):
    install(Diary().backends)  # which no other process knows
    with pytest.raises(EdgeVitError, match=r"a new process could not answer: .*'one' is not"):
        measure(*candidates(tiny, "one"), starts=1)


def test_without_new_processes_memory_is_not_known(tiny):
    (report,) = measure(*candidates(tiny, "onnxruntime")).reports
    assert (report.first_answer_ms, report.rss_mib, report.rss_peak_mib) == (None, None, None)


def test_the_comparison_is_json_with_the_machine_in_it(tiny):
    comparison = measure(*candidates(tiny, "onnxruntime", threads=1))
    document = json.loads(json.dumps(comparison.to_dict()))
    (model,) = document["models"]
    assert (model["precision"], model["threads"], model["task"]) == ("fp32", 1, "classify")
    assert document["fingerprint"]["packages"]["onnxruntime"]
    assert set(document["machine"]) >= {"before", "after", "warnings"}
    assert document["is_interrupted"] is False


def test_labels_say_what_tells_candidates_apart(tiny, tmp_path, install):
    install({"fake": FakeBackend([IMAGE], [LOGITS])})
    (one,) = candidates(tiny, "fake", threads=1)
    (two,) = candidates(tiny, "fake", threads=2)
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(tiny.read_bytes())
    (other,) = candidates(copy, "fake", threads=1)
    assert measure(one).labels() == ["tiny"]
    assert measure(one, two).labels() == ["1 thread", "2 threads"]
    assert measure(one, other).labels() == ["tiny.onnx, tiny", "copy.onnx, tiny"]


def test_the_fastest_has_the_least_median(tiny, install):
    slow = FakeBackend([IMAGE], [LOGITS], latency_s=0.02)
    install({"slow": slow, "fast": FakeBackend([IMAGE], [LOGITS])})
    assert measure(*candidates(tiny, "slow", "fast")).fastest().backend == "fast"


def test_accuracies_are_one_for_each_report(tiny, install):
    install({"fake": FakeBackend([IMAGE], [LOGITS])})
    comparison = measure(*candidates(tiny, "fake"))
    known = Accuracy("top1", 0.5, "guessed")
    assert comparison.with_accuracies([known]).reports[0].accuracy == known
    with pytest.raises(InputError, match="1 reports take as many accuracies, not 0"):
        comparison.with_accuracies([])


@pytest.mark.parametrize(("name", "value"), [("runs", 0), ("warmup", -1), ("starts", -1)])
def test_too_small_numbers_are_refused(tiny, name, value):
    with pytest.raises(InputError, match=f"{name} must be from {value + 1} up, not {value}"):
        measure(*candidates(tiny, "onnxruntime"), **{name: value})


def test_nothing_cannot_be_compared():
    with pytest.raises(InputError, match="pass one or more candidates"):
        measure()
