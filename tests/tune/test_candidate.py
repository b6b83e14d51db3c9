from pathlib import Path

import pytest

from edgevit.backend import TuningOptions
from edgevit.tune.candidate import ModelFile, Space, thread_counts
from edgevit.tune.inputs import Runtime

FILE = ModelFile(Path("a.onnx"), Path("a.onnx"), "fp32")
TUNING = {
    "spins": TuningOptions({"until-done": {}, "always": {"spin": True}, "never": {"spin": False}}),
    "streams": TuningOptions({"default": {}, "pinned": {"pin": True}}, has_streams=True),
    "plain": TuningOptions(),
}


def scheduling(backend, device="cpu", threads=(1, 2), **more):
    runtimes = {backend: Runtime([device], TUNING[backend])}
    found = Space([FILE], runtimes, threads, ["exact"], **more).candidates()
    return [(one.threads, one.spinning, one.streams) for one in found]


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3])])
def test_threads_are_tried_up_to_the_cores(cores, counts):
    assert thread_counts(cores) == counts


def test_one_thread_waits_for_nobody():
    assert scheduling("spins") == [
        (1, "until-done", 1),
        *((2, spinning, 1) for spinning in ("until-done", "always", "never")),
    ]
    assert scheduling("streams") == [(1, "default", 1), (2, "default", 1), (2, "pinned", 1)]
    assert scheduling("plain") == [(1, "default", 1), (2, "default", 1)]
    assert scheduling("spins", threads=[2], spinning=["never"]) == [(2, "never", 1)]


def test_accelerators_have_no_threads_to_vary():
    assert scheduling("spins", "cuda:0") == [(None, "until-done", 1)]


def test_streams_are_for_those_that_have_them_and_need_a_thread_each():
    streams = scheduling("streams", streams=[1, 2, 4], spinning=["default"])
    assert streams == [(1, "default", 1), (2, "default", 1), (2, "default", 2)]
    assert {count for *_, count in scheduling("spins", streams=[1, 2])} == {1}


def test_a_candidate_is_what_predictor_takes():
    runtimes = {"streams": Runtime(["cpu"], TUNING["streams"])}
    space = Space([FILE], runtimes, [2], ["fast"], streams=[2], spinning=["pinned"])
    (candidate,) = space.candidates()
    assert candidate.arguments == {
        "backend": "streams",
        "device": "cpu",
        "threads": 2,
        "preprocess": "fast",
        "options": {"pin": True, "streams": 2},
    }
    assert str(candidate) == "a fp32 on streams cpu, 2 threads pinned, 2 streams, fast"
    described = candidate.to_dict()
    assert (described["model"], described["spinning"]) == ("a.onnx", "pinned")
    assert "options" not in described


def test_the_reference_is_the_first_model_as_it_is():
    converted = ModelFile(FILE.model, Path("a-int8.onnx"), "int8")
    runtimes = {"plain": Runtime(["npu", "cpu"]), "spins": Runtime(["cpu"])}
    reference = Space([converted], runtimes, [1]).reference
    assert reference.answers == (FILE.path, "plain", "npu", "exact")
