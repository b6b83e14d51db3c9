import json
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edgevit.errors import DeviceError, InferenceError, InputError, LoadError
from edgevit.testing import CHECKS, MODELS_FOLDER, BackendWithOptions
from edgevit.testing.models import BIAS, CONVOLUTION

plugin = pytest.importorskip("edgevit_openvino", reason="OpenVINO is not installed")
openvino = plugin.openvino

MODEL = CONVOLUTION.path
ANSWER = CONVOLUTION.answer(CONVOLUTION.feeds())["features"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The cache's folder, empty at first."""
    monkeypatch.setenv("EDGEVIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/openvino"


@pytest.fixture
def backend():
    return plugin.OpenVINOBackend()


@pytest.fixture
def forbid(monkeypatch):
    """Let a method of `openvino.Core` fail inside a `with` block."""

    @contextmanager
    def replace(method, error=AssertionError):
        def refuse(*args):
            raise error(f"{method} was called")

        with monkeypatch.context() as patch:
            patch.setattr(openvino.Core, method, refuse)
            yield

    return replace


@pytest.fixture
def machine(monkeypatch):
    """A backend on a machine with the given OpenVINO devices; `types` are their DEVICE_TYPE."""

    def build(names, types):
        class Core:
            available_devices = names

            def get_property(self, device, name):
                if device not in types:
                    raise RuntimeError("not supported")
                return types[device]

        monkeypatch.setattr(openvino, "Core", Core)
        return plugin.OpenVINOBackend()

    return build


def answer(backend, model=MODEL, **options):
    session = backend.load(model, device="cpu", options=options)
    return session.run(CONVOLUTION.feeds())["features"].copy()


def files(folder, pattern="*"):
    """What a cache folder holds, besides the files of locks, which stay until the next `prune`."""
    return sorted(path for path in folder.glob(pattern) if path.suffix != ".lock")


def compiled(session):
    return session._requests[0].vendors.get_compiled_model()


@pytest.mark.parametrize("rule", CHECKS)
def test_backend_keeps_the_rule(rule, backend):
    CHECKS[rule](backend, "cpu")


@pytest.mark.parametrize("rule", CHECKS)
def test_backend_keeps_the_rule_with_two_streams(rule, backend):
    CHECKS[rule](BackendWithOptions(backend, {"streams": 2}), "cpu")


# Devices


@pytest.mark.parametrize(
    ("names", "types", "devices"),
    [
        pytest.param([], {}, [], id="none"),
        pytest.param(["CPU"], {}, ["cpu"], id="processor"),
        pytest.param(["CPU", "NPU"], {}, ["cpu", "npu"], id="npu is last, as in AUTO"),
        pytest.param(["GPU"], {"GPU": "Type.DISCRETE"}, ["gpu"], id="gpu alone"),
        pytest.param(
            ["CPU", "GPU", "NPU"],
            {"GPU": "Type.INTEGRATED"},
            ["auto:gpu,cpu", "gpu", "cpu", "npu"],
            id="all three",
        ),
        pytest.param(
            ["CPU", "GPU.0", "GPU.1"],
            {"GPU.0": "Type.INTEGRATED", "GPU.1": "Type.DISCRETE"},
            ["auto:gpu.1,gpu.0,cpu", "gpu.1", "gpu.0", "cpu"],
            id="the discrete gpu is first",
        ),
    ],
)
def test_devices_are_listed_best_first(names, types, devices, machine):
    assert machine(names, types).devices() == devices


@pytest.mark.parametrize("device", ["cpu", "CPU", "AUTO:CPU", "auto:cpu"])
def test_device_is_accepted_in_openvinos_spelling(device, backend):
    session = backend.load(MODEL, device=device, options={})
    np.testing.assert_allclose(session.run(CONVOLUTION.feeds())["features"], ANSWER, rtol=1e-4)


@pytest.mark.parametrize(
    "device", ["gpu.7", "auto:", "auto:gpu.7,cpu", "cpu.0", "hetero:cpu", "auto"]
)
def test_device_that_is_not_there_is_refused(device, backend):
    with pytest.raises(DeviceError, match=r"available: .*'cpu'"):
        backend.load(MODEL, device=device, options={})


# Options


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("device", ["cpu", "auto:cpu"])
def test_threads_are_openvinos_threads(threads, device, backend):
    if threads > plugin.usable_cores():
        pytest.skip("OpenVINO starts no more threads than there are cores")
    session = backend.load(MODEL, device=device, options={"threads": threads})
    name = "DEVICE_PROPERTIES" if device.startswith("auto") else "INFERENCE_NUM_THREADS"
    value = compiled(session).get_property(name)
    assert (value["CPU"]["INFERENCE_NUM_THREADS"] if isinstance(value, dict) else value) == threads


@pytest.mark.parametrize("start", ["compiled", "imported"])
@pytest.mark.parametrize("device", ["cpu", "auto:cpu"])
def test_streams_are_runs_in_flight(device, start, backend):
    if plugin.usable_cores() < 2:
        pytest.skip("OpenVINO makes no more streams than there are cores")
    for _ in range(1 + (start == "imported")):
        session = backend.load(MODEL, device=device, options={"streams": 2, "threads": 2})
    assert session.max_in_flight == 2
    assert backend.load(MODEL, device=device, options={}).max_in_flight == 1


def test_streams_that_find_no_thread_are_reported(backend, caplog):
    session = backend.load(MODEL, device="cpu", options={"streams": 2, "threads": 1})
    assert session.max_in_flight == 1
    assert "makes 1 of the 2 streams" in caplog.text


@pytest.mark.parametrize("streams", [0, -1, 1.5, "two", True])
def test_streams_that_are_no_count_are_refused(streams, backend):
    with pytest.raises(InputError, match="streams must be a whole number from 1 up"):
        backend.load(MODEL, device="cpu", options={"streams": streams})


@pytest.mark.parametrize("start", ["compiled", "imported"])
def test_processor_computes_in_32_bits_and_is_not_pinned(start, backend):
    for _ in range(1 + (start == "imported")):
        session = backend.load(MODEL, device="cpu", options={})
    assert compiled(session).get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert compiled(session).get_property("ENABLE_CPU_PINNING") is False
    assert compiled(session).get_property("NUM_STREAMS") == 1


def test_config_goes_over_the_defaults(backend):
    options = {"config": {"ENABLE_CPU_PINNING": True, "EXECUTION_MODE_HINT": "ACCURACY"}}
    session = backend.load(MODEL, device="cpu", options=options)
    assert compiled(session).get_property("ENABLE_CPU_PINNING") is True


@pytest.mark.parametrize("config", ["fast", ["PERF_COUNT"], None, 3])
def test_config_that_is_no_mapping_is_refused(config, backend):
    with pytest.raises(InputError, match="'config' must be a mapping"):
        backend.load(MODEL, device="cpu", options={"config": config})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"NO_SUCH_PROPERTY": 1}, "Unsupported property NO_SUCH_PROPERTY by CPU"),
        ({"INFERENCE_NUM_THREADS": "two"}, "Wrong value for property key INFERENCE_NUM_THREADS"),
    ],
)
def test_property_that_openvino_refuses_is_named(config, message, backend):
    with pytest.raises(LoadError, match=message) as caught:
        backend.load(MODEL, device="cpu", options={"config": config})
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "Exception from" not in str(caught.value)


@pytest.mark.parametrize("cache", [None, 3, ["folder"]])
def test_cache_that_is_no_folder_is_refused(cache, backend):
    with pytest.raises(InputError, match="'cache' must be true, false or a folder"):
        backend.load(MODEL, device="cpu", options={"cache": cache})


# Cache


def test_second_load_compiles_nothing(backend, forbid):
    first = answer(backend)
    with forbid("compile_model"):
        np.testing.assert_array_equal(answer(backend), first)


def test_cached_session_describes_the_same_tensors(backend):
    for name in ("merged", "pair", "integers", "total"):
        sessions = [
            backend.load(MODELS_FOLDER / f"{name}.onnx", device="cpu", options={}) for _ in range(2)
        ]
        assert sessions[0].inputs == sessions[1].inputs
        assert sessions[0].outputs == sessions[1].outputs


def test_model_replaced_within_the_clocks_tick_is_compiled_anew(backend, tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(MODEL.read_bytes())
    before, status = answer(backend, model), model.stat()
    model.write_bytes(MODEL.read_bytes().replace(BIAS.tobytes(), (BIAS + 1000).tobytes()))
    os.utime(model, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert model.stat().st_size == status.st_size
    assert answer(backend, model).max() > before.max() + 500


def test_copy_of_a_model_uses_the_same_entry(backend, tmp_path, forbid):
    answer(backend)
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(MODEL.read_bytes())
    with forbid("compile_model"):
        np.testing.assert_allclose(answer(backend, copy), ANSWER, rtol=1e-4)


def test_every_option_has_an_entry_of_its_own(backend, folder):
    for options in ({"threads": 1}, {"threads": 2}, {"config": {"PERF_COUNT": True}}):
        answer(backend, **options)
    assert len(files(folder, "*.json")) == len(files(folder, "*.blob")) == 3


def test_another_version_of_openvino_finds_nothing(backend, folder, monkeypatch):
    answer(backend)
    monkeypatch.setattr(openvino, "get_version", lambda: "2027.0.0")
    answer(backend)
    assert len(files(folder, "*.json")) == 2


def test_entry_says_what_it_was_made_from(backend, folder):
    answer(backend, threads=1)
    record = json.loads(files(folder, "*.json")[0].read_text())
    assert record["model"] == str(MODEL)
    assert record["extras"] == {"inputs": ["image"], "outputs": ["features"]}
    facts = record["facts"]
    assert set(facts) == {"files", "openvino", "device", "precision", "hardware", "config"}
    assert (facts["device"], facts["precision"]) == ("CPU", "f32")
    assert facts["hardware"]["FULL_DEVICE_NAME"]
    assert facts["config"]["INFERENCE_NUM_THREADS"] == "1"
    assert facts["openvino"] == openvino.get_version()


def test_blob_is_openvinos_own_file(backend, folder):
    answer(backend)
    content = files(folder, "*.blob")[0].read_bytes()
    session = openvino.Core().import_model(content, "CPU")(CONVOLUTION.feeds())
    np.testing.assert_allclose(session["features"], ANSWER, rtol=1e-4)


def test_entry_says_why_it_was_built(backend, folder):
    for threads in (1, 2):
        answer(backend, threads=threads)
    reasons = {json.loads(path.read_text())["why"] for path in files(folder, "*.json")}
    assert reasons == {"first build", "config INFERENCE_NUM_THREADS 1 -> 2"}


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        pytest.param("blob", lambda content: b"", id="empty blob"),
        pytest.param("blob", lambda content: content[:20], id="cut digest"),
        pytest.param("blob", lambda content: content[: len(content) // 2], id="cut blob"),
        pytest.param("blob", lambda content: b"\xff" * len(content), id="overwritten blob"),
        pytest.param("blob", lambda content: content[:-1] + b"!", id="one byte"),
        pytest.param("json", lambda content: b"", id="empty entry"),
        pytest.param("json", lambda content: content[:40], id="cut entry"),
        pytest.param("json", lambda content: b"[1, 2]", id="entry of another shape"),
        pytest.param("json", lambda content: b"{}", id="entry without keys"),
        pytest.param("json", lambda content: b"\xff\xfe", id="entry that is no text"),
        pytest.param("json", lambda content: b'{"inputs": 5, "outputs": 5}', id="wrong types"),
    ],
)
def test_damaged_entry_is_replaced_with_a_warning(suffix, damage, backend, folder, forbid, caplog):
    answer(backend)
    victim = files(folder, f"*.{suffix}")[0]
    victim.write_bytes(damage(victim.read_bytes()))
    with caplog.at_level(logging.WARNING), forbid("import_model"):
        np.testing.assert_allclose(answer(backend), ANSWER, rtol=1e-4)
    assert len(caplog.records) == 1
    assert "building it again" in caplog.text
    with forbid("compile_model"):
        np.testing.assert_allclose(answer(backend), ANSWER, rtol=1e-4)


def test_entry_with_names_of_another_model_is_replaced(backend, folder, forbid, caplog):
    answer(backend)
    entry = files(folder, "*.json")[0]
    record = json.loads(entry.read_text())
    entry.write_text(json.dumps({**record, "extras": {"inputs": ["x"], "outputs": ["y"]}}))
    with caplog.at_level(logging.WARNING), forbid("import_model"):
        np.testing.assert_allclose(answer(backend), ANSWER, rtol=1e-4)
    assert "building it again" in caplog.text
    assert json.loads(entry.read_text())["extras"] == record["extras"]


def test_missing_blob_is_made_again_without_a_word(backend, folder, caplog):
    answer(backend)
    files(folder, "*.blob")[0].unlink()
    with caplog.at_level(logging.WARNING):
        answer(backend)
    assert caplog.records == []
    assert len(files(folder, "*.blob")) == 1


def test_blob_that_openvino_refuses_is_replaced_with_a_warning(backend, folder, forbid, caplog):
    answer(backend)
    with caplog.at_level(logging.WARNING), forbid("import_model", RuntimeError):
        np.testing.assert_allclose(answer(backend), ANSWER, rtol=1e-4)
    assert len(caplog.records) == 1
    assert "OpenVINO refuses the cached model" in caplog.text
    record = json.loads(files(folder, "*.json")[0].read_text())
    assert record["why"].startswith("OpenVINO refuses the cached model")


def test_folder_that_cannot_be_written_is_one_warning(backend, tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(answer(backend, cache=tmp_path / "file"), ANSWER, rtol=1e-4)
    assert len(caplog.records) == 1
    assert "the compiled model is not kept" in caplog.text


def test_cache_may_be_turned_off(backend, folder):
    answer(backend, cache=False)
    assert not folder.exists()


@pytest.mark.parametrize("kind", [str, Path])
def test_cache_may_be_another_folder(kind, backend, folder, tmp_path):
    answer(backend, cache=kind(tmp_path / "mine"))
    assert len(files(tmp_path / "mine", "*.blob")) == 1
    assert not folder.exists()


def test_auto_plugin_leaves_no_entry(backend, folder):
    backend.load(MODEL, device="auto:cpu", options={})
    assert files(folder) == []


def test_model_that_cannot_be_exported_is_loaded_all_the_same(backend, folder, monkeypatch):
    def refuse(*args):
        raise RuntimeError("Not Implemented")

    monkeypatch.setattr(openvino.CompiledModel, "export_model", refuse)
    np.testing.assert_allclose(answer(backend), ANSWER, rtol=1e-4)
    assert files(folder) == []


def test_writers_at_once_leave_one_whole_entry(folder, forbid):
    backends = [plugin.OpenVINOBackend() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(answer, backends))
    np.testing.assert_allclose(answers, [ANSWER] * 4, rtol=1e-4)
    assert sorted(path.suffix for path in files(folder)) == [".blob", ".json"]
    with forbid("compile_model"):
        answer(backends[0])


# Files beside the model


def test_model_whose_weights_changed_is_compiled_anew(backend, tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx makes the model")
    proto = onnx.load(MODEL)
    model = tmp_path / "model.onnx"
    onnx.save(proto, model, save_as_external_data=True, location="weights", size_threshold=0)
    before = answer(backend, model)
    content = (tmp_path / "weights").read_bytes()
    (tmp_path / "weights").write_bytes(content.replace(BIAS.tobytes(), (BIAS + 1000).tobytes()))
    assert answer(backend, model).max() > before.max() + 500


# Graphs


def save(text, path):
    onnx = pytest.importorskip("onnx", reason="onnx makes the model")
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(onnx.parser.parse_graph(text), opset_imports=opsets)
    model.ir_version = 8
    onnx.save(model, path)
    return path


def test_input_that_is_an_output_is_not_the_callers_memory(backend, tmp_path):
    text = "g (float[N] x) => (float[N] x, float[N] y) { y = Relu(x) }"
    session = backend.load(save(text, tmp_path / "model.onnx"), device="cpu", options={})
    x = np.ones(3, np.float32)
    outputs = session.run({"x": x})
    x[:] = 5
    np.testing.assert_array_equal(outputs["x"], [1, 1, 1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("g (string[N] x) => (string[N] y) { y = Identity(x) }", "'x' has the type string"),
        ("g (float[] x) => (float[] y) { y = Relu(x) }", "with dynamic rank"),
    ],
)
def test_tensor_that_edgevit_lacks_is_named(text, message, backend, tmp_path):
    with pytest.raises(LoadError, match=message):
        backend.load(save(text, tmp_path / "model.onnx"), device="cpu", options={})


def test_session_in_use_on_another_thread_fails_rather_than_mixes(backend):
    session = backend.load(MODEL, device="cpu", options={})
    feeds = CONVOLUTION.feeds()

    def work(_):
        try:
            return session.run(feeds)["features"].shape
        except InferenceError as exc:
            return str(exc)

    with ThreadPoolExecutor(4) as threads:
        outcomes = set(threads.map(work, range(200)))
    assert (1, 4, 8, 6) in outcomes
    assert all("OpenVINO failed while running" in other for other in outcomes - {(1, 4, 8, 6)})


# Telemetry

WATCHED = """
import socket, sys
def refuse(*args, **kwargs):
    print("network", args[1:] or args)
    raise OSError("blocked")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from pathlib import Path
from edgevit_openvino import OpenVINOBackend
from edgevit.testing.models import CONVOLUTION
session = OpenVINOBackend().load(CONVOLUTION.path, device="cpu", options={})
session.run(CONVOLUTION.feeds())
print(sorted(name for name in sys.modules if name.startswith("openvino_telemetry")))
"""


def test_nothing_is_sent_and_nothing_written_at_home(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    quiet_for_robots = ("CI", "TF_BUILD", "JENKINS_URL")  # OpenVINO reports nothing from there
    environment = {key: os.environ[key] for key in os.environ if key not in quiet_for_robots}
    places = {"HOME": str(home), "USERPROFILE": str(home), "LOCALAPPDATA": str(home)}
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WATCHED],
        env={**environment, **places, **path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
    assert list(home.rglob("*")) == []


def test_telemetry_package_is_not_hidden_from_the_program():
    pytest.importorskip("openvino_telemetry", reason="openvino-telemetry is not installed")
    program = "import edgevit_openvino, openvino_telemetry; print(openvino_telemetry.__name__)"
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "openvino_telemetry\n"
