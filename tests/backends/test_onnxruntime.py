import ctypes

import numpy as np
import pytest

from edgevit.errors import DeviceError, InputError, LoadError
from edgevit.testing import CHECKS, MODELS_FOLDER, BackendWithOptions

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
plugin = pytest.importorskip("edgevit_onnxruntime", reason="the plugin is not installed")

MODEL = MODELS_FOLDER / "convolution.onnx"
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class Driver:
    """A CUDA driver with `count` devices."""

    def __init__(self, count, status=0):
        self.count, self.status = count, status

    def cuInit(self, flags):  # its name in the driver
        return self.status

    def cuDeviceGetCount(self, pointer):
        pointer._obj.value = self.count
        return 0


@pytest.fixture
def backend():
    return plugin.OnnxRuntimeBackend()


@pytest.fixture
def cuda_build(monkeypatch):
    """Pretend to be the GPU wheel on a machine with the given driver, or none."""

    def build(driver):
        def open_library(name):
            if driver is None:
                raise OSError(f"{name}: cannot open shared object file")
            return driver

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
        monkeypatch.setattr(ctypes, "CDLL", open_library)

    return build


@pytest.mark.parametrize("rule", CHECKS)
def test_backend_keeps_the_rule(rule, backend):
    CHECKS[rule](backend, "cpu")


@pytest.mark.parametrize("rule", CHECKS)
def test_bound_sessions_keep_the_rule(rule, backend):
    CHECKS[rule](BackendWithOptions(backend, {"io_binding": True}), "cpu")


def test_processor_is_always_a_device(backend):
    assert backend.devices()[-1] == "cpu"


def test_device_of_another_build_is_refused(backend, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(DeviceError, match=r"'cuda:0' is not available .*; available: 'cpu'"):
        backend.load(MODEL, device="cuda:0", options={})


@pytest.mark.parametrize(
    ("driver", "devices"),
    [
        pytest.param(None, ["cpu"], id="no driver"),
        pytest.param(Driver(2, status=100), ["cpu"], id="driver without hardware"),
        pytest.param(Driver(0), ["cpu"], id="no device"),
        pytest.param(Driver(2), ["cuda:0", "cuda:1", "cpu"], id="two devices"),
    ],
)
def test_cuda_devices_are_those_of_the_driver(driver, devices, backend, cuda_build):
    cuda_build(driver)
    assert backend.devices() == devices


def test_cuda_build_without_driver_never_runs_on_the_processor(backend, cuda_build):
    cuda_build(None)
    with pytest.raises(DeviceError, match="available: 'cpu'"):
        backend.load(MODEL, device="cuda:0", options={})


@pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider'")
@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="CUDA really works here")
def test_provider_that_does_not_start_is_no_silent_fallback(backend, cuda_build):
    cuda_build(Driver(1))
    with pytest.raises(LoadError, match=f"fell back to {CPU}; check its driver"):
        backend.load(MODEL, device="cuda:0", options={})


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_are_the_sessions_threads(threads, backend):
    session = backend.load(MODEL, device="cpu", options={"threads": threads})
    assert session._session.get_session_options().intra_op_num_threads == threads


def test_threads_default_to_the_usable_cores(backend, monkeypatch):
    monkeypatch.setattr(plugin, "usable_cores", lambda: 3)
    session = backend.load(MODEL, device="cpu", options={})
    assert session._session.get_session_options().intra_op_num_threads == 3


@pytest.mark.parametrize(("options", "entry"), [({}, "1"), ({"config": {}}, "1")])
def test_threads_stop_spinning_after_a_run(options, entry, backend):
    settings = backend.load(MODEL, device="cpu", options=options)._session.get_session_options()
    assert settings.get_session_config_entry("session.force_spinning_stop") == entry


def test_config_goes_over_the_defaults(backend):
    config = {"session.force_spinning_stop": 0, "session.intra_op.allow_spinning": "0"}
    session = backend.load(MODEL, device="cpu", options={"config": config})
    settings = session._session.get_session_options()
    assert settings.get_session_config_entry("session.force_spinning_stop") == "0"
    assert settings.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize("name", ["config", "provider_options"])
@pytest.mark.parametrize("value", ["fast", ["a"], None, 3])
def test_options_that_are_no_mapping_are_refused(name, value, backend):
    with pytest.raises(InputError, match=f"'{name}' must be a mapping"):
        backend.load(MODEL, device="cpu", options={name: value})


def test_vendors_error_is_the_cause(backend, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(LoadError, match=r"model\.onnx.*Protobuf parsing failed") as caught:
        backend.load(tmp_path / "model.onnx", device="cpu", options={})
    assert type(caught.value.__cause__).__module__.startswith("onnxruntime")


def test_tensor_type_that_edgevit_lacks_is_named(backend, tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx makes the model")
    text = "agraph (string[N] words) => (string[N] same) { same = Identity(words) }"
    model = onnx.helper.make_model(
        onnx.parser.parse_graph(text), opset_imports=[onnx.helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    onnx.save(model, tmp_path / "words.onnx")
    with pytest.raises(LoadError, match=r"'words' has the type tensor\(string\)"):
        backend.load(tmp_path / "words.onnx", device="cpu", options={})


def test_outputs_are_writable_arrays_of_their_own(backend):
    session = backend.load(MODELS_FOLDER / "pair.onnx", device="cpu", options={})
    feeds = {"b": np.ones((1, 3), "f4"), "a": np.ones((1, 3), "f4")}
    first, second = session.run(feeds)["sum"], session.run(feeds)["sum"]
    assert not np.shares_memory(first, second)
