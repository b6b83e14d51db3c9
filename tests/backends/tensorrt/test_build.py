"""How engines are built, against fakes: options, precision, errors, and the child process."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tensorrt_machine import ANSWER, LIBRARIES, VERSIONS, answer, built, load, save

import edgevit
from edgevit.errors import (
    InputError,
    LoadError,
)
from edgevit.testing.models import HALF, INTEGERS, PAIR, UNSUPPORTED


def kept(folder):
    """What a cache folder holds, besides the file of a lock, which stays until the next `prune`."""
    return [path for path in folder.iterdir() if path.suffix != ".lock"]


def test_float32_stays_float32_unless_asked(machine):
    made = machine()
    assert built(made)["flags"] == []
    assert built(made, tf32=True)["flags"] == ["TF32"]


@pytest.mark.parametrize("version", VERSIONS)
def test_options_reach_the_builder(version, machine):
    event = built(machine(version=version), workspace=2**20, optimization_level=4, threads=3)
    assert event["pools"] == {"WORKSPACE": 2**20}
    assert (event["level"], event["threads"]) == (4, 3)
    assert event["strongly_typed"] == (version != "8.6.1")


MIXED = """g (float16[2,3] x) => (float16[2,3] y) {
    doubled = Add(x, x)  wide = Cast<to = 1>(doubled)  soft = Softmax(wide)
    narrow = Cast<to = 10>(soft)  y = Add(narrow, x) }"""
QUANTISED = """g (float[2,3] x, float scale, int8 zero) => (float[2,3] y) {
    q = QuantizeLinear(x, scale, zero)  y = DequantizeLinear(q, scale, zero) }"""


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        pytest.param(MIXED, ["FP16", "PREFER_PRECISION_CONSTRAINTS"], id="float16"),
        pytest.param(QUANTISED, ["INT8"], id="quantised"),
    ],
)
def test_precision_is_the_graphs(text, flags, machine, tmp_path):
    model = save(text.replace("\n", " "), tmp_path / "model.onnx")
    assert built(machine(version="10.3.0"), model)["flags"] == []
    assert built(machine(version="8.6.1"), model)["flags"] == flags


def test_what_a_float16_graph_keeps_in_float32_is_pinned_without_strong_types(machine, tmp_path):
    model = save(MIXED.replace("\n", " "), tmp_path / "model.onnx")
    fixed = built(machine(version="8.6.1"), model)["fixed"]
    assert fixed == [[], [], ["0", "precision"], [], []]


@pytest.mark.parametrize(("version", "strongly_typed"), [("10.3.0", False), ("11.4.0", True)])
def test_dla_gets_its_core_and_the_gpu_what_it_cannot_do(
    version, strongly_typed, machine, caplog, tmp_path
):
    text = "g (float16[2,3] x) => (float16[2,3] y) { a = Relu(x)  y = Softmax(a) }"
    model = save(text, tmp_path / "model.onnx")
    made = machine(version=version, dla_cores=2)
    with caplog.at_level(logging.WARNING):
        event = built(made, model, "dla:1")
    assert (event["device"], event["dla_core"]) == ("DLA", 1)
    assert event["strongly_typed"] == strongly_typed
    assert "GPU_FALLBACK" in event["flags"]
    assert ("FP16" in event["flags"]) != strongly_typed
    assert "the DLA computes 1 of 2 layers" in caplog.text
    assert made.events("deserialize")[-1]["dla_core"] == 1


def test_dla_takes_no_float32_model(machine):
    backend = machine(dla_cores=1).backend()
    with pytest.raises(LoadError, match=r"a DLA computes in float16 .*--precision fp16"):
        load(backend, device="dla:0")


def test_batches_are_built_for_and_larger_ones_when_they_come(machine, caplog):
    made = machine()
    session = load(made.backend(), PAIR.path)
    (profile,) = made.events("build")[0]["profiles"]
    assert profile["a"] == [[1, 3], [1, 3], [8, 3]]
    with caplog.at_level(logging.WARNING):
        for batch in (8, 20, 32, 1):
            feeds = PAIR.feeds(batch)
            np.testing.assert_allclose(session.run(feeds)["sum"], feeds["a"] + feeds["b"])
    assert "takes no inputs of {'b': (20, 3), 'a': (20, 3)}" in caplog.text
    (profile,) = made.events("build")[1]["profiles"]
    assert profile["a"] == [[1, 3], [20, 3], [32, 3]]
    assert len(made.events("build")) == 2


SIZES = "g (float[1,3,H,W] image) => (float[1,3,H,W] y) { y = Relu(image) }"


def test_size_buckets_are_profiles_of_one_engine(machine, tmp_path):
    model = save(SIZES, tmp_path / "model.onnx")
    small, large = ([[1, 3, n, n]] * 3 for n in (4, 8))
    made = machine()
    session = load(made.backend(), model, profiles=[{"image": small}, {"image": large}])
    for size in (8, 4, 8):
        image = np.full((1, 3, size, size), size, np.float32)
        np.testing.assert_array_equal(session.run({"image": image})["y"], image)
    with pytest.raises(InputError, match=r"not take the shapes .*\(1, 3, 5, 5\).*as option 'prof"):
        session.run({"image": np.zeros((1, 3, 5, 5), np.float32)})
    assert len(made.events("build")) == 1


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        (None, "free axes other than the first.*pass options={'profiles'"),
        ({"photo": [[1, 3, 4, 4]] * 3}, r"input 'photo'; the model has \['image'\]"),
        ({"image": [[2, 3, 4, 4]] * 3}, r"a profile gives 'image' the shapes"),
        ({"image": [[3, 4, 4]] * 3}, r"a profile gives 'image' the shapes"),
    ],
    ids=["none", "another name", "a fixed axis", "another rank"],
)
def test_profiles_that_do_not_fit_are_refused(profiles, message, machine, tmp_path):
    model = save(SIZES, tmp_path / "model.onnx")
    with pytest.raises(LoadError, match=message):
        load(machine().backend(), model, profiles=profiles)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("workspace", 0),
        ("workspace", "1 GiB"),
        ("contexts", 0),
        ("contexts", True),
        ("optimization_level", 6),
        ("tf32", 1),
        ("cuda_graph", "yes"),
        ("cache", 3),
        ("profiles", []),
        ("profiles", {"image": [[1], [2]]}),
        ("profiles", {"image": [[2], [1], [3]]}),
        ("profiles", {"image": [[0], [1], [3]]}),
        ("profiles", {"image": [[1], [1, 1], [3]]}),
        ("profiles", "image"),
    ],
)
def test_option_that_is_not_usable_is_named(option, value, machine):
    with pytest.raises(InputError, match=f"option '{option}' must"):
        load(machine().backend(), **{option: value})


@pytest.mark.parametrize(
    ("version", "where"),
    [
        ("8.6.1", r"node number 0 \[NoSuchOperator.*name: .odd one"),
        ("10.3.0", r"node 'odd one' \(NoSuchOperator\): Plugin not"),
        ("11.4.0", r"node 'odd one' \(NoSuchOperator\): Plugin not"),
    ],
)
def test_unsupported_operator_is_named_with_its_node(version, where, machine, tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx makes the model")
    proto = onnx.load(UNSUPPORTED)
    proto.graph.node[0].name = "odd one"
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(LoadError, match=where):
        load(machine(version=version).backend(), tmp_path / "model.onnx")


def test_unsupported_operator_without_a_name_is_named_with_its_number(machine):
    with pytest.raises(LoadError, match=r"node number 0 \(NoSuchOperator\): Plugin not"):
        load(machine().backend(), UNSUPPORTED)


def test_exports_with_newer_operators_are_refused_by_old_parsers(machine):
    model = Path(edgevit.__file__).parent / "assets/cas_vit_xs_cifar10.onnx"
    with pytest.raises(LoadError, match=r"While parsing node number .*Gelu.* more$"):
        load(machine(version="8.6.1").backend(), model)
    assert load(machine(version="10.3.0").backend(), model).outputs[0].shape == (1, 10)


def test_many_unsupported_nodes_are_named_in_one_line(machine, tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx makes the model")
    proto = onnx.load(UNSUPPORTED)
    proto.graph.node.extend([proto.graph.node[0]] * 9)
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(LoadError, match=r"node number 3 .* and 6 more$"):
        load(machine().backend(), tmp_path / "model.onnx")


def test_builder_that_gives_up_says_why(machine, folder):
    with pytest.raises(LoadError, match="Could not find any implementation for node X"):
        load(machine(build="fail").backend())
    assert kept(folder) == []


def test_tensors_that_edgevit_lacks_are_named(machine, tmp_path):
    shape = save("g (float[2] shape_x) => (float[2] y) { y = Relu(shape_x) }", tmp_path / "s.onnx")
    backend = machine().backend()
    with pytest.raises(LoadError, match="input 'shape_x' decides shapes"):
        load(backend, shape)
    host = save("g (float[2] x) => (float[2] host_y) { host_y = Relu(x) }", tmp_path / "h.onnx")
    with pytest.raises(LoadError, match="tensor 'host_y' decides shapes"):
        load(backend, host)


def test_measured_times_are_kept_for_the_next_build(machine, folder):
    made = machine()
    built(made)
    assert not made.events("build")[0]["known_times"]
    assert built(made, HALF.path)["known_times"]
    (times,) = folder.glob("*.timing")
    times.write_bytes(b"damaged")
    assert not built(made, PAIR.path)["known_times"]
    assert built(made, INTEGERS.path)["known_times"]


# The child process


def test_build_is_announced_and_its_progress_logged(machine, caplog, monkeypatch):
    backend = machine(build="works").backend(builds_here=False)
    monkeypatch.setattr("edgevit_tensorrt.child.NEWS_S", 1e-3)
    with caplog.at_level(logging.INFO):
        np.testing.assert_allclose(answer(load(backend)), ANSWER, rtol=1e-4)
    assert "TensorRT builds an engine of convolution.onnx for cuda:0 (Fake GPU)" in caplog.text
    assert "building convolution.onnx: 0 s" in caplog.text


def test_builder_that_is_killed_is_an_error_and_leaves_nothing(machine, folder):
    made = machine(build="crash")
    backend = made.backend(builds_here=False)
    with pytest.raises(LoadError, match=r"died of signal SIGKILL; .*smaller option 'workspace'"):
        load(backend)
    assert kept(folder) == []
    made.change(build="works")
    np.testing.assert_allclose(answer(load(backend)), ANSWER, rtol=1e-4)


LOADING = """
from edgevit_tensorrt import TensorRTBackend
from edgevit.testing.models import CONVOLUTION
TensorRTBackend().load(CONVOLUTION.path, device="cuda:0", options={})
"""


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_load_ends_the_builder(signal_number, machine, folder, tmp_path):
    made = machine(build="hang")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", LOADING],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "TMPDIR": str(scratch),
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: made.events("build"))
    process.send_signal(signal_number)
    _, said = process.communicate(timeout=60)
    wait_until(lambda: not is_alive(made.events("build")[0]["pid"]))
    assert kept(folder) == []
    if signal_number == signal.SIGINT:
        assert said.rstrip().endswith("KeyboardInterrupt")
        assert list(scratch.iterdir()) == []


FORGETTING = """
from edgevit_tensorrt import TensorRTBackend
from edgevit.testing.models import CONVOLUTION
session = TensorRTBackend().load(CONVOLUTION.path, device="cuda:0", options={})
handles = [session.submit(CONVOLUTION.feeds()) for _ in range(2)]
outputs = handles[1].result()
"""


@pytest.mark.parametrize("library", LIBRARIES)
def test_program_that_does_not_close_its_session_ends_quietly(library, machine):
    machine(library=library)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORGETTING],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert len(done.stderr.splitlines()) == 1  # the announced build
    assert "TensorRT builds an engine" in done.stderr


def wait_until(condition):
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never happened")


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
