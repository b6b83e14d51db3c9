import ctypes
import os
from pathlib import Path

import numpy as np
import pytest

from edgevit.errors import DeviceError, InputError, LoadError
from edgevit.testing import CHECKS, MODELS_FOLDER, BackendWithOptions
from edgevit.testing.models import CONVOLUTION

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
plugin = pytest.importorskip("edgevit_onnxruntime", reason="the plugin is not installed")
fake_cuda = pytest.importorskip("fake_cuda", reason="ONNX Runtime is not installed")

MODEL = MODELS_FOLDER / "convolution.onnx"
CPU, CUDA, TENSORRT = fake_cuda.CPU, fake_cuda.CUDA, fake_cuda.TENSORRT
OWN = {"device_id": "0", "use_tf32": "0"}  # options of CUDA that edgevit sets
Driver = fake_cuda.Driver


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


# GPUs, as far as a fake can show it


@pytest.fixture
def gpu(monkeypatch):
    """Pretend to be the GPU wheel on a machine with a GPU."""
    return lambda **behavior: fake_cuda.Build(monkeypatch, **behavior)


def graph_ids(build):
    return sorted({graph for _, graph in build.graphs})


GPU_RULES = [
    "answers_are_right",
    "batch_may_grow_and_shrink",
    "failed_run_is_an_inference_error",
    "closed_session_is_refused",
    *(rule for rule in CHECKS if "submitted" in rule or "given_up" in rule or "thread" in rule),
]


@pytest.mark.parametrize("device", ["cuda:0", "tensorrt:0"])
@pytest.mark.parametrize("rule", GPU_RULES)
def test_gpu_session_keeps_the_rule_on_a_fake(rule, device, backend, gpu):
    gpu()
    CHECKS[rule](backend, device)


def test_fixed_shapes_run_as_cuda_graphs_one_for_each_run_in_flight(backend, gpu):
    build = gpu()
    session = backend.load(MODEL, device="cuda:0", options={})
    for _ in range(8):
        session.run(CONVOLUTION.feeds())
    assert graph_ids(build) == ["1", "2", "3"]  # 0 is ONNX Runtime's own
    assert build.loads[0].providers == [(CUDA, OWN | {"enable_cuda_graph": "1"})]


@pytest.mark.parametrize(
    ("model", "behavior", "reason"),
    [
        pytest.param("pair", {}, "needs fixed shapes, and 'b' has", id="free axis"),
        pytest.param("convolution", {"on_processor": ["Relu"]}, "graph capture", id="node on CPU"),
    ],
)
def test_model_that_cannot_be_a_graph_runs_without_and_says_why(
    model, behavior, reason, backend, gpu, caplog
):
    build = gpu(**behavior)
    path = MODELS_FOLDER / f"{model}.onnx"
    with caplog.at_level("INFO", logger="edgevit_onnxruntime"):
        backend.load(path, device="cuda:0", options={})
    assert build.loads[-1].providers == [(CUDA, OWN)]
    assert f"{model}.onnx runs without CUDA graph: " in caplog.text
    assert reason in caplog.text


def test_graph_that_is_asked_for_but_not_possible_is_refused(backend, gpu):
    gpu()
    with pytest.raises(LoadError, match=r"needs fixed shapes.*export without --dynamic-batch"):
        backend.load(MODELS_FOLDER / "pair.onnx", device="cuda:0", options={"cuda_graph": True})


def test_graph_may_be_declined(backend, gpu):
    build = gpu()
    session = backend.load(MODEL, device="cuda:0", options={"cuda_graph": False})
    session.run(CONVOLUTION.feeds())
    assert not build.graphs


@pytest.mark.parametrize(
    ("device", "options", "message"),
    [
        ("cpu", {"cuda_graph": True}, r"cuda_graph needs a device cuda:N"),
        ("cuda:0", {"cuda_graph": True, "io_binding": False}, "and io_binding"),
        ("cuda:0", {"provider_options": {"enable_cuda_graph": 1}}, "the option 'cuda_graph'"),
        ("tensorrt:0", {"provider_options": {"trt_cuda_graph_enable": 1}}, "option 'cuda_graph'"),
        ("directml:0", {"io_binding": True}, "io_binding is not to be had on 'directml:0'"),
        ("cuda:0", {"io_binding": "yes"}, "'io_binding' must be true or false"),
    ],
    ids=str,
)
def test_binding_options_that_do_not_fit_are_refused(device, options, message, backend, gpu):
    gpu()
    with pytest.raises(InputError, match=message):
        backend.load(MODEL, device=device, options=options)


def test_nodes_on_the_processor_are_reported_once(backend, gpu, caplog):
    gpu(on_processor=["Relu"])
    backend.load(MODEL, device="cuda:0", options={})
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warning == f"1 of 2 nodes run on {CPU}, not on cuda:0: 1 Relu"


def test_all_nodes_on_the_device_are_one_quiet_line(backend, gpu, caplog):
    gpu()
    with caplog.at_level("INFO", logger="edgevit_onnxruntime"):
        backend.load(MODEL, device="cuda:0", options={})
    assert "all 2 nodes run on cuda:0" in caplog.messages


def test_model_of_which_no_node_runs_on_the_device_is_refused(backend, gpu):
    gpu(on_processor=["Conv", "Relu"])
    with pytest.raises(LoadError, match=r"none of the model's 2 nodes.*lacks: 1 Conv, 1 Relu"):
        backend.load(MODEL, device="cuda:0", options={})


def test_nodes_that_tensorrt_leaves_go_to_cuda(backend, gpu, caplog):
    build = gpu(placement=CUDA)
    backend.load(MODEL, device="tensorrt:0", options={})
    assert [name for name, _ in build.loads[0].providers] == [TENSORRT, CUDA]
    assert f"2 of 2 nodes run on {CUDA}, not on tensorrt:0" in caplog.text


def test_onnx_runtime_that_cannot_tell_says_so(caplog):
    plugin.report_placement(object(), CUDA, "cuda:0")
    assert "does not say whether nodes run on the processor" in caplog.text


def test_tensorrt_keeps_engines_in_a_folder_for_each_model(backend, gpu, cache, tmp_path):
    build = gpu()
    twin = tmp_path / "twin.onnx"
    twin.write_bytes(MODEL.read_bytes())
    for model in (MODEL, twin, MODELS_FOLDER / "pair.onnx"):
        backend.load(model, device="tensorrt:0", options={})
    options = [load.providers[0][1] for load in build.loads]
    first, copy, other = (given["trt_engine_cache_path"] for given in options)
    assert first == copy != other
    assert first.startswith(str(cache / "onnxruntime" / "tensorrt"))
    if os.name == "posix":
        assert Path(first).stat().st_mode & 0o777 == 0o700
    assert options[0]["trt_engine_cache_enable"] == "1"
    assert not {"trt_fp16_enable", "trt_int8_enable"} & set(options[0])


def test_tensorrt_runs_without_a_cache_where_its_folder_cannot_be_made(
    backend, gpu, cache, monkeypatch, caplog
):
    build = gpu()
    (cache / "file").write_text("no folder")
    monkeypatch.setenv("EDGEVIT_CACHE", str(cache / "file"))
    backend.load(MODEL, device="tensorrt:0", options={})
    assert "trt_engine_cache_enable" not in build.loads[0].providers[0][1]
    assert "engines are not kept" in caplog.text


def test_tensorrts_one_graph_serves_one_run_at_a_time(backend, gpu):
    build = gpu()
    session = backend.load(MODEL, device="tensorrt:0", options={"cuda_graph": True})
    for _ in range(4):
        session.run(CONVOLUTION.feeds())
    assert session.max_in_flight == 1
    assert len(build.graphs) == 1


def test_what_onnx_runtime_prints_while_loading_libraries_is_logged(
    backend, gpu, monkeypatch, caplog, capsys
):
    gpu()
    monkeypatch.setattr(
        onnxruntime, "preload_dlls", lambda: print("Failed to load x"), raising=False
    )
    with caplog.at_level("INFO", logger="edgevit_onnxruntime"):
        backend.load(MODEL, device="cuda:0", options={})
    assert "Failed to load x" in caplog.text
    assert capsys.readouterr().out == ""
