from pathlib import Path

import pytest

from edgevit.tune.candidate import Candidate, ModelFile, Space, thread_counts

FILE = ModelFile(Path("a.onnx"), Path("a.onnx"), "fp32")


def scheduling(backend, device="cpu", threads=(1, 2), **more):
    found = Space([FILE], {backend: [device]}, threads, ["exact"], **more).candidates()
    return [(one.threads, one.spinning, one.streams) for one in found]


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3])])
def test_threads_are_tried_up_to_the_cores(cores, counts):
    assert thread_counts(cores) == counts


def test_one_thread_waits_for_nobody():
    assert scheduling("onnxruntime") == [
        (1, "until-done", 1),
        *((2, spinning, 1) for spinning in ("until-done", "always", "never")),
    ]
    assert scheduling("openvino") == [(1, "default", 1), (2, "default", 1), (2, "pinned", 1)]
    assert scheduling("third_party") == [(1, "default", 1), (2, "default", 1)]
    assert scheduling("onnxruntime", threads=[2], spinning=["never"]) == [(2, "never", 1)]


def test_accelerators_have_no_threads_to_vary():
    assert scheduling("onnxruntime", "cuda:0") == [(None, "until-done", 1)]


def test_streams_are_for_those_that_have_them_and_need_a_thread_each():
    streams = scheduling("openvino", streams=[1, 2, 4], spinning=["default"])
    assert streams == [(1, "default", 1), (2, "default", 1), (2, "default", 2)]
    assert {count for *_, count in scheduling("onnxruntime", streams=[1, 2])} == {1}


def test_a_candidate_is_what_predictor_takes():
    candidate = Candidate(FILE, "openvino", "cpu", 2, "pinned", "fast", 2)
    assert candidate.arguments == {
        "backend": "openvino",
        "device": "cpu",
        "threads": 2,
        "preprocess": "fast",
        "options": {"config": {"ENABLE_CPU_PINNING": True}, "streams": 2},
    }
    assert str(candidate) == "a fp32 on openvino cpu, 2 threads pinned, 2 streams, fast"
    assert candidate.to_dict()["model"] == "a.onnx"
