"""The TensorRT backend against fakes; tests/backends/fakes/read_bindings.py says what is real."""

import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tensorrt_machine import LIBRARIES, VERSIONS, forget, start

import edgevit
from edgevit.backend import CompiledCache
from edgevit.core.registry import choose_backend, get_backend
from edgevit.errors import (
    BackendError,
    BackendUnavailableError,
    DeviceError,
    InferenceError,
    InputError,
    LoadError,
)
from edgevit.testing import CHECKS, BackendWithOptions
from edgevit.testing.models import CONVOLUTION, HALF, INTEGERS, PAIR, UNSUPPORTED

ANSWER = CONVOLUTION.answer(CONVOLUTION.feeds())["features"]

# Rules in which versions of TensorRT, or the libraries that reach CUDA, differ.
DISTINGUISHING = (
    "tensors_are_described_as_in_the_file",
    "answers_are_right",
    "half_precision_is_right_or_refused",
    "batch_may_grow_and_shrink",
    "outputs_are_not_the_feeds",
    "failed_run_is_an_inference_error",
    "sessions_run_on_several_threads",
    "unsupported_operator_is_refused",
    "submitted_runs_answer_as_run_does",
)

BUILT_IN_A_CHILD = (
    "backend_follows_the_protocol",
    "half_precision_is_right_or_refused",
    "unreadable_models_are_refused",
    "unsupported_operator_is_refused",
)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Make a machine: `machine(version="10.3.0", library="cuda_bindings", ...)`."""

    def make(**settings):
        return start(monkeypatch, tmp_path / "calls", **settings)

    yield make
    gc.collect()
    forget()


@pytest.fixture
def folder(cache):
    """Where engines are kept."""
    return cache / "tensorrt"


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """A cache for all tests of the kit: each engine is built once."""
    return tmp_path_factory.mktemp("engines")


def load(backend, model=CONVOLUTION.path, device="cuda:0", **options):
    return backend.load(model, device=device, options=options)


def answer(session):
    return session.run(CONVOLUTION.feeds())["features"].copy()


def save(text, path):
    onnx = pytest.importorskip("onnx", reason="onnx makes the model")
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(onnx.parser.parse_graph(text), opset_imports=opsets)
    model.ir_version = 8
    onnx.save(model, path)
    return path


# The kit


def keep(rule, machine, engines, monkeypatch, version, library, builds_here=True, **options):
    monkeypatch.setenv("EDGEVIT_CACHE", str(engines))
    backend = machine(version=version, library=library).backend(builds_here=builds_here)
    CHECKS[rule](BackendWithOptions(backend, options), "cuda:0")


@pytest.mark.parametrize("rule", CHECKS)
def test_backend_keeps_the_rule(rule, machine, engines, monkeypatch):
    builds_here = rule not in BUILT_IN_A_CHILD
    keep(rule, machine, engines, monkeypatch, "10.3.0", "cuda_bindings", builds_here)


@pytest.mark.parametrize("rule", DISTINGUISHING)
@pytest.mark.parametrize(
    ("version", "library"), [("8.6.1", "pycuda_only"), ("11.4.0", "cuda_bindings")]
)
def test_backend_keeps_what_differs(rule, version, library, machine, engines, monkeypatch):
    keep(rule, machine, engines, monkeypatch, version, library)


@pytest.mark.slow
@pytest.mark.parametrize("rule", CHECKS)
@pytest.mark.parametrize("contexts", [1, 3])
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("version", VERSIONS)
def test_backend_keeps_the_rule_everywhere(
    rule, version, library, contexts, machine, engines, monkeypatch
):
    keep(rule, machine, engines, monkeypatch, version, library, contexts=contexts)


# What is there, and what is not


@pytest.mark.parametrize("library", LIBRARIES)
def test_gpus_come_before_dla_cores(library, machine):
    backend = machine(library=library, gpus=["Orin", "A2"], dla_cores=2).backend()
    assert backend.devices() == ["cuda:0", "cuda:1", "dla:0", "dla:1"]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        pytest.param({"driver": "absent"}, DeviceError, "driver does not answer", id="no driver"),
        pytest.param({"driver": False}, DeviceError, "driver does not answer", id="driver fails"),
        pytest.param({"gpus": []}, DeviceError, "finds no GPU; check nvidia-smi", id="no gpu"),
        pytest.param(
            {"lacking": ["IExecutionContext.execute_async_v3"], "version": "8.6.1"},
            BackendError,
            r"TensorRT 8.6.1 is too old: it lacks IExecutionContext.execute_async_v3; install",
            id="old",
        ),
    ],
)
def test_machine_that_cannot_run_is_explained(settings, error, message, library, machine):
    made = machine(library=library, **settings)
    with pytest.raises(error, match=message):
        made.backend()
    assert bool(made.events("tensorrt imported")) == (error is BackendError)


def test_missing_packages_are_named(machine):
    with pytest.raises(ImportError, match="tensorrt is not installed"):
        machine(packages=()).backend()
    with pytest.raises(ImportError, match="neither cuda-bindings nor PyCUDA"):
        machine(library=None).backend()


def test_tensorrt_whose_libraries_are_missing_is_explained(machine, tmp_path, monkeypatch):
    made = machine()
    broken = tmp_path / "broken/tensorrt"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libnvinfer.so.10: cannot open')")
    monkeypatch.syspath_prepend(str(broken.parent))
    with pytest.raises(BackendError, match=r"cannot be imported: libnvinfer.so.10"):
        made.backend()


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """Register the backend as an installed edgevit does."""
    information = tmp_path / "site/aaa_edgevit_tensorrt-1.0.dist-info"
    information.mkdir(parents=True)
    entry = "[edgevit.backends]\ntensorrt = edgevit_tensorrt:TensorRTBackend\n"
    (information / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(information.parent))
    get_backend.cache_clear()
    yield
    get_backend.cache_clear()


def test_auto_takes_tensorrt_where_a_gpu_answers(machine, registered):
    machine()
    name, backend = choose_backend()
    assert (name, backend.devices()[0]) == ("tensorrt", "cuda:0")


def test_auto_goes_on_quietly_without_a_gpu(machine, registered, caplog):
    machine(driver="absent")
    with caplog.at_level(logging.WARNING):
        assert choose_backend()[0] != "tensorrt"
    assert caplog.records == []


def test_doctor_says_why_tensorrt_is_not_usable(machine, registered):
    from edgevit.doctor import diagnose

    machine(driver=False)
    (state,) = [state for state in diagnose().backends if state.name == "tensorrt"]
    assert state.devices == ()
    assert "the NVIDIA driver does not answer" in state.reason
    with pytest.raises(BackendUnavailableError, match="'tensorrt' cannot be started: DeviceError"):
        get_backend("tensorrt")


def test_importing_the_plugin_loads_nothing_of_nvidia(machine):
    machine()
    program = (
        "import sys, edgevit_tensorrt; print({'tensorrt', 'cuda', 'pycuda'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"


# The build


def built(machine, model=CONVOLUTION.path, device="cuda:0", **options):
    """What the fake builder noted."""
    load(machine.backend(), model, device, **options).close()
    return machine.events("build")[-1]


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
    assert [path.suffix for path in folder.iterdir()] == []


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
    assert list(folder.iterdir()) == []
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
    assert [path for path in folder.iterdir() if path.suffix != ".lock"] == []
    if signal_number == signal.SIGINT:
        assert said.rstrip().endswith("KeyboardInterrupt")
        assert list(scratch.iterdir()) == list(folder.iterdir()) == []


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


# The cache


def test_second_load_builds_nothing(machine):
    made = machine()
    for _ in range(2):
        np.testing.assert_allclose(answer(load(made.backend())), ANSWER, rtol=1e-4)
    assert len(made.events("build")) == 1


def test_engine_is_a_raw_plan_beside_what_it_was_made_from(machine, folder):
    import json

    load(machine().backend(), workspace=2**20)
    (plan,), (sidecar,) = folder.glob("*.plan"), folder.glob("*.json")
    assert plan.read_bytes().startswith(b"fake plan")
    record = json.loads(sidecar.read_text())
    facts = record["facts"]
    assert set(facts) == {"files", "tensorrt", "cuda", "device", "hardware", "options"}
    assert (facts["tensorrt"], facts["cuda"]) == ("10.3.0", "12.6")
    assert facts["hardware"] == {"name": "Fake GPU", "compute_capability": "8.7"}
    assert facts["options"]["workspace"] == 2**20
    assert record["extras"]["inputs"][0]["name"] == "image"


def test_every_version_gpu_and_option_has_an_engine_of_its_own(machine):
    built(machine())
    built(machine(), tf32=True)
    built(machine(version="11.4.0"))
    built(machine(gpus=["Another GPU"]))
    assert len(built(machine(cuda=13000))) > 0
    assert len(machine().events("build")) == 5


def test_equal_gpus_share_an_engine(machine):
    made = machine(gpus=["L4", "L4", "A2"])
    backend = made.backend()
    for device in ("cuda:0", "cuda:1", "cuda:2"):
        np.testing.assert_allclose(answer(load(backend, device=device)), ANSWER, rtol=1e-4)
    assert len(made.events("build")) == 2


def test_damaged_engine_is_never_deserialised(machine, folder, caplog):
    made = machine()
    load(made.backend())
    (plan,) = folder.glob("*.plan")
    content = bytearray(plan.read_bytes())
    content[len(content) // 2] ^= 1
    plan.write_bytes(content)
    before = len(made.events("deserialize"))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(answer(load(made.backend())), ANSWER, rtol=1e-4)
    assert len(made.events("build")) == 2
    assert len(made.events("deserialize")) == before + 1  # the new one
    assert "damaged" in caplog.text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(lambda plan: b"a plan of something else", "magicTagRead", id="no plan"),
        pytest.param(
            lambda plan: plan.replace(b'"10.3.0"', b'"10.3.1"'), "incompatible", id="version"
        ),
        pytest.param(
            lambda plan: plan.replace(b'"image"', b'"photo"'), "not the model's", id="model"
        ),
    ],
)
def test_engine_that_tensorrt_refuses_is_built_again(change, reason, machine, folder, caplog):
    backend = machine().backend()
    load(backend)
    (plan,) = folder.glob("*.plan")
    content, record = plan.read_bytes(), record_of(folder)
    cache = CompiledCache(folder, suffix=".plan")
    cache.discard(cache.find(record.facts))
    with cache.building(record.facts, CONVOLUTION.path) as build:
        build.store(change(content), record.extras)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(answer(load(backend)), ANSWER, rtol=1e-4)
    assert "TensorRT refuses the cached engine" in caplog.text
    assert reason in caplog.text
    assert plan.read_bytes() == content
    assert "refuses" in record_of(folder).why


def record_of(folder):
    from edgevit.core.compiled_entry import read_record

    (sidecar,) = folder.glob("*.json")
    return read_record(sidecar)


def test_cache_may_be_turned_off(machine, folder, caplog):
    with caplog.at_level(logging.WARNING):
        session = load(machine().backend(), cache=False)
    np.testing.assert_allclose(answer(session), ANSWER, rtol=1e-4)
    assert not folder.exists()
    assert "is not kept: option 'cache' is false" in caplog.text


# Runs


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


# Feeds that are on the GPU


class OnGpu:
    """An array of another library, as `__cuda_array_interface__` describes it."""

    def __init__(self, gpu, array, **interface):
        gpu.push(1000)
        self.address = gpu.allocate(array.nbytes, "device")
        gpu.pop()
        self.array, self.shape = array, array.shape
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (self.address, True),
            "strides": None,
            "version": 3,
            **interface,
        }

    def write(self):
        import ctypes

        ctypes.memmove(self.address, self.array.tobytes(), self.array.nbytes)


class OnGpuByDlpack:
    """The same array, as DLPack describes it."""

    def __init__(self, array, index=0, strides=None, code=2):
        self.shape, self._array, self._index = array.shape, array, index
        self._strides, self._code = strides, code
        self.streams = []

    def __dlpack_device__(self):
        return (2, self._index)

    def __dlpack__(self, *, stream=None):
        import ctypes

        from edgevit_tensorrt.device_arrays import _DLTensor

        self.streams.append(stream)
        lengths = ctypes.c_int64 * len(self.shape)
        self._shape = lengths(*self.shape)
        array = self._array.array
        self._tensor = _DLTensor(
            data=self._array.address - 16,
            device_type=2,
            device_id=self._index,
            ndim=len(self.shape),
            code=self._code,
            bits=8 * array.itemsize,
            lanes=1,
            shape=self._shape,
            strides=lengths(*self._strides) if self._strides else None,
            byte_offset=16,
        )
        new = ctypes.pythonapi.PyCapsule_New
        new.restype = ctypes.py_object
        new.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return new(ctypes.addressof(self._tensor), b"dltensor", None)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("way", ["interface", "dlpack"])
def test_array_on_the_gpu_is_read_where_it_is(way, library, machine):
    made = machine(library=library)
    session = load(made.backend())
    array = OnGpu(made.gpu, CONVOLUTION.feeds()["image"])
    array.write()
    feed = array if way == "interface" else OnGpuByDlpack(array)
    for scale in (1, 2):
        array.array = array.array * scale
        array.write()
        outputs = session.run({"image": feed})
        expected = CONVOLUTION.answer({"image": array.array})["features"]
        np.testing.assert_allclose(outputs["features"], expected, rtol=1e-4)
    kinds = [block.kind for block in made.gpu.blocks.values()]
    assert sorted(kinds) == ["device", "device", "pinned"]  # the feed, the output, and its copy
    if way == "dlpack":
        assert feed.streams[0] in made.gpu.streams


@pytest.mark.parametrize("library", LIBRARIES)
def test_work_of_the_arrays_own_library_is_waited_for(library, machine):
    made = machine(library=library)
    session = load(made.backend())
    gpu = made.gpu
    gpu.push(1000)
    producer = gpu.create_stream()
    array = OnGpu(gpu, CONVOLUTION.feeds()["image"], stream=producer)
    gpu.push_work(producer, array.write)
    gpu.pop()
    np.testing.assert_allclose(session.run({"image": array})["features"], ANSWER, rtol=1e-4)


def test_arrays_on_the_gpu_and_off_it_may_be_mixed(machine):
    made = machine()
    session = load(made.backend(), PAIR.path)
    feeds = PAIR.feeds()
    array = OnGpu(made.gpu, feeds["a"])
    array.write()
    outputs = session.run({"a": array, "b": feeds["b"]})
    np.testing.assert_allclose(outputs["sum"], feeds["a"] + feeds["b"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"typestr": "<f8"}, "fed a GPU array of float64", id="dtype"),
        pytest.param({"shape": (1, 3, 8, 7)}, r"float32 \(1, 3, 8, 7\)", id="shape"),
        pytest.param({"shape": (3, 8, 6)}, r"float32 \(3, 8, 6\)", id="rank"),
        pytest.param({"strides": (576, 4, 72, 12)}, "gaps or another order", id="strides"),
    ],
)
def test_array_on_the_gpu_that_does_not_fit_is_refused(change, message, machine):
    made = machine()
    session = load(made.backend())
    with pytest.raises(InputError, match=message):
        session.run({"image": OnGpu(made.gpu, CONVOLUTION.feeds()["image"], **change)})
    np.testing.assert_allclose(answer(session), ANSWER, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"index": 1}, "on GPU 1, but the model on GPU 0", id="another gpu"),
        pytest.param({"code": 4}, "DLPack type 4 is none of NumPy's", id="bfloat16"),
        pytest.param({"strides": (144, 1, 18, 3)}, "gaps or another order", id="strides"),
    ],
)
def test_dlpack_array_that_does_not_fit_is_refused(change, message, machine):
    made = machine()
    session = load(made.backend())
    array = OnGpu(made.gpu, CONVOLUTION.feeds()["image"])
    with pytest.raises(InputError, match=message):
        session.run({"image": OnGpuByDlpack(array, **change)})


def test_wrong_names_beside_an_array_on_the_gpu_are_refused(machine):
    made = machine()
    session = load(made.backend(), PAIR.path)
    array = OnGpu(made.gpu, PAIR.feeds()["a"])
    with pytest.raises(InputError, match=r"takes the inputs \['b', 'a'\], but was fed"):
        session.run({"a": array})
    with pytest.raises(InputError, match="fed a list"):
        session.run({"a": array, "b": [1, 2]})


def test_predictor_hands_arrays_on_the_gpu_to_its_session(machine, registered, tiny):
    made = machine()
    made.backend()  # lets engines be built here
    with edgevit.Predictor(tiny, backend="tensorrt") as predictor:
        batch, geometry = predictor.preprocess(np.zeros((8, 8, 3), np.uint8))
        array = OnGpu(made.gpu, batch)
        array.write()
        name = predictor.session.inputs[0].name
        outputs = predictor.session.run({name: array})
        result = predictor.postprocess(outputs, geometry)
        expected = predictor.classify(np.zeros((8, 8, 3), np.uint8))
    np.testing.assert_allclose(result.scores, expected.scores, rtol=1e-5)
