"""Runs of TensorRT engines, against fakes."""

import gc
import threading

import numpy as np
import pytest
from tensorrt_machine import ANSWER, LIBRARIES, answer, load, save

from edgevit.errors import (
    InferenceError,
    InputError,
    LoadError,
)
from edgevit.testing.models import CONVOLUTION, INTEGERS, PAIR


def test_runs_in_one_place_are_captured_and_launched(machine):
    made = machine()
    session = load(made.backend())
    for _ in range(4):
        np.testing.assert_allclose(answer(session), ANSWER, rtol=1e-4)
    assert made.runs == (1, 1, 3)


def test_graph_is_captured_anew_when_shapes_change(machine):
    made = machine()
    session = load(made.backend(), PAIR.path)
    for batch in (2, 2, 2, 3, 3, 3):
        feeds = PAIR.feeds(batch)
        np.testing.assert_allclose(session.run(feeds)["sum"], feeds["a"] + feeds["b"])
    assert made.runs == (2, 2, 4)
    gc.collect()
    assert len(made.gpu.executables) == 1


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        pytest.param({"capture": False}, {}, id="refused by the model"),
        pytest.param({}, {"cuda_graph": False}, id="refused by the user"),
        pytest.param({"library": "pycuda_only"}, {}, id="lacking in PyCUDA"),
    ],
)
def test_runs_without_a_graph_are_queued_call_by_call(settings, options, machine):
    made = machine(**settings)
    session = load(made.backend(), **options)
    for _ in range(4):
        np.testing.assert_allclose(answer(session), ANSWER, rtol=1e-4)
    assert made.runs == (4, 0, 0)


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0"])
def test_outputs_whose_shape_depends_on_data_are_allocated_by_the_run(version, machine, tmp_path):
    text = "g (float[4] x) => (int64[1,N] where, float[4] y) { where = NonZero(x)  y = Relu(x) }"
    made = machine(version=version)
    session = load(made.backend(), save(text, tmp_path / "model.onnx"))
    assert session.outputs[0].shape == (1, None)
    for x in ([0, 1, 0, 2], [0, 0, 0, 0], [3, 1, 2, 4]):
        outputs = session.run({"x": np.array(x, np.float32)})
        np.testing.assert_array_equal(outputs["where"], np.nonzero(x))
        assert outputs["where"].dtype == np.int64
        np.testing.assert_array_equal(outputs["y"], x)
    assert made.runs == (3, 0, 0)


def test_integers_beyond_32_bits_are_refused_where_there_are_no_others(machine):
    feeds = INTEGERS.feeds()
    feeds["factors"][0] = 2**31
    session = load(machine(version="8.6.1").backend(), INTEGERS.path)
    with pytest.raises(InputError, match=r"'factors'.* beyond int32.* install 10 or newer"):
        session.run(feeds)
    outputs = load(machine(version="10.3.0").backend(), INTEGERS.path).run(feeds)
    np.testing.assert_array_equal(outputs["products"], INTEGERS.answer(feeds)["products"])


@pytest.mark.parametrize("library", LIBRARIES)
def test_memory_that_runs_out_is_an_inference_error(library, machine):
    made = machine(library=library)
    session = load(made.backend())
    made.change(free_bytes=100)
    with pytest.raises(InferenceError, match=r"(?i)out.of.memory"):
        session.run(CONVOLUTION.feeds())
    made.change(free_bytes=2**40)
    np.testing.assert_allclose(answer(session), ANSWER, rtol=1e-4)


def test_context_that_does_not_fit_is_a_load_error(machine):
    made = machine(contexts=0)
    with pytest.raises(LoadError, match="GPU memory could not be allocated"):
        load(made.backend())
    made.change(contexts=1)
    session = load(made.backend())
    made.change(contexts=0)
    answer(session)
    with pytest.raises(InferenceError, match="GPU memory could not be allocated"):
        session.submit(CONVOLUTION.feeds())


def test_larger_batch_that_cannot_be_built_for_is_an_inference_error(machine):
    made = machine()
    session = load(made.backend(), PAIR.path)
    made.change(build="fail")
    with pytest.raises(InferenceError, match=r"the shapes .*\(9, 3\).*any implement"):
        session.run(PAIR.feeds(9))
    session.run(PAIR.feeds(8))


@pytest.mark.parametrize("library", LIBRARIES)
def test_closed_session_gives_everything_back(library, machine):
    made = machine(library=library)
    session = load(made.backend(), contexts=3)
    handles = [session.submit(CONVOLUTION.feeds()) for _ in range(6)]
    outputs = handles[-1].result()
    thread = threading.Thread(target=session.close)
    thread.start()
    thread.join()
    np.testing.assert_allclose(outputs["features"], ANSWER, rtol=1e-4)  # still no one else's memory
    del outputs, handles, session
    gc.collect()
    gpu = made.gpu
    assert (gpu.blocks, gpu.executables, len(gpu.streams)) == ({}, {}, 1)


@pytest.mark.parametrize("library", LIBRARIES)
def test_applications_context_stays_current(library, machine):
    made = machine(library=library)
    backend = made.backend()
    made.gpu.stack.append(7)
    answer(load(backend))
    assert made.gpu.stack == [7]


def test_two_contexts_are_made_only_for_submitted_runs(machine):
    made = machine()
    session = load(made.backend())
    for _ in range(3):
        session.run(CONVOLUTION.feeds())
    assert len(made.gpu.streams) == 2  # with the default stream
    for _ in range(3):
        session.submit(CONVOLUTION.feeds())
    assert len(made.gpu.streams) == 3
