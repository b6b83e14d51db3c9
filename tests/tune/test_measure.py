import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgevit.errors import EdgeVitError, InferenceError
from edgevit.tune.candidate import Candidate, ModelFile
from edgevit.tune.measure import Images, Measurer
from edgevit.tune.worker import Worker, load_images, serve

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.full((12, 10, 3), 200, np.uint8))
    return path


def candidate(path, preprocess="exact", device="cpu"):
    file = ModelFile(path, path, "fp32")
    return Candidate(file, "onnxruntime", device, 1, "until-done", preprocess)


def request(path, runs=2, mode="each", **more):
    arguments = candidate(path, **more).arguments
    return {"path": str(path), "arguments": arguments, "runs": runs, "mode": mode}


def test_pictures_are_stretched_to_a_cameras_frames(picture):
    assert load_images([str(picture)], None)[0].shape == (12, 10, 3)
    assert load_images([str(picture)], (30, 40))[0].shape == (30, 40, 3)


@pytest.mark.parametrize("mode", ["each", "map"])
def test_a_worker_measures(tiny, mode):
    worker = Worker([np.zeros((9, 9, 3), np.uint8)] * 2)
    sample = worker.measure(**request(tiny, runs=5, mode=mode))
    assert len(sample["times_ms"]) == 5
    assert min(sample["times_ms"]) > 0
    assert sample["images_per_s"] > 0
    assert sample["cpu_ms"] > 0


def test_preprocessing_modes_share_a_loaded_model(tiny, monkeypatch):
    from edgevit_onnxruntime import OnnxRuntimeBackend

    loads = []
    load = OnnxRuntimeBackend.load
    monkeypatch.setattr(
        OnnxRuntimeBackend, "load", lambda *a, **k: loads.append(k["device"]) or load(*a, **k)
    )
    worker = Worker([np.zeros((9, 9, 3), np.uint8)])
    for mode in ("exact", "fast", "exact", "fast"):
        worker.measure(**request(tiny, preprocess=mode))
    assert loads == ["cpu"]


def test_a_worker_answers_errors_and_goes_on(tiny, picture):
    lines = [{"images": [str(picture)], "size": None}, request(tiny, device="gpu"), request(tiny)]
    answers = io.StringIO()
    serve(io.StringIO("".join(f"{json.dumps(line)}\n" for line in lines)), answers)
    _, first, second = map(json.loads, answers.getvalue().splitlines())
    assert "device 'gpu' is not available" in first["error"]
    assert len(second["times_ms"]) == 2


def test_candidates_run_in_processes_that_are_theirs_in_the_end(tiny, picture):
    with Measurer(Images((picture,))) as measurer:
        assert measurer.measure(candidate(tiny), 3).rss_mib is None  # others share the process
        measurer.isolate([candidate(tiny)])
        assert len(measurer.measure(candidate(tiny), 3).times_ms) == 3
        with pytest.raises(InferenceError, match="device 'npu' is not available"):
            measurer.measure(candidate(tiny, device="npu"), 1)


@pytest.mark.parametrize(
    ("program", "timeout_s", "message"),
    [
        ("import sys; sys.exit('illegal instruction')", 60, "with code 1, saying: illegal inst"),
        ("import os; os.abort()", 60, "its process ended with code -6"),
        ("import time; time.sleep(60)", 0.2, "takes more than 0.2 s"),
    ],
    ids=["an exit", "a crash", "a hang"],
)
def test_a_process_that_ends_is_one_candidates_failure(
    tiny, picture, monkeypatch, program, timeout_s, message
):
    with Measurer(Images((picture,)), timeout_s=timeout_s) as measurer:
        monkeypatch.setattr("edgevit.tune.measure.PROGRAM", program)
        with pytest.raises(EdgeVitError, match=message):
            measurer.measure(candidate(tiny), 1)
        monkeypatch.undo()
        assert measurer._processes == {}  # the next candidate gets a new one


def test_a_picture_that_is_gone_is_the_processes_last_word(tiny):
    with (
        Measurer(Images((Path("nowhere.png"),))) as measurer,
        pytest.raises(EdgeVitError, match=r"nowhere\.png"),
    ):
        measurer.measure(candidate(tiny), 1)
