"""The fake TensorRT and the fake GPU refuse what the real ones refuse."""

import importlib

import numpy as np
import pytest
from tensorrt_machine import LIBRARIES, VERSIONS

from edgevit.testing.models import CONVOLUTION, PAIR


@pytest.fixture
def trt(machine):
    """TensorRT of a version, with the GPU's context current."""

    def make(version):
        machine(version=version)
        gpu = importlib.import_module("fake_gpu").MACHINE
        gpu.start()
        gpu.push(gpu.retain(0))
        return importlib.import_module("tensorrt"), gpu

    return make


def logger(trt):
    said = []

    class Log(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)

        def log(self, severity, message):
            said.append(message)

    return Log(), said


def context(trt, model, *, batches=None):
    """An execution context, and what TensorRT says."""
    log, said = logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1)
    assert trt.OnnxParser(network, log).parse_from_file(str(model.path))
    config = builder.create_builder_config()
    if batches:
        profile = builder.create_optimization_profile()
        for info in model.inputs:
            profile.set_shape(info.name, *[(n, 3) for n in batches])
        config.add_optimization_profile(profile)
    config.set_timing_cache(config.create_timing_cache(b""), False)
    plan = builder.build_serialized_network(network, config)
    runtime = trt.Runtime(log)
    runtime.engine_host_code_allowed = False
    return runtime.deserialize_cuda_engine(bytes(plan)).create_execution_context(), said


@pytest.mark.parametrize(
    ("name", "versions"),
    [
        ("NetworkDefinitionCreationFlag.EXPLICIT_BATCH", "8.6.1 10.3.0"),
        ("NetworkDefinitionCreationFlag.STRONGLY_TYPED", "10.3.0 11.4.0"),
        ("BuilderFlag.FP16", "8.6.1 10.3.0"),
        ("BuilderFlag.TF32", "8.6.1 10.3.0 11.4.0"),
        ("DataType.INT64", "10.3.0 11.4.0"),
        ("IProgressMonitor.phase_start", "10.3.0 11.4.0"),
        ("ParserError.node_name", "10.3.0 11.4.0"),
        ("ILayer.precision", "8.6.1 10.3.0"),
        ("PreviewFeature.PROFILE_SHARING_0806", "8.6.1 10.3.0"),
        ("IExecutionContext.execute_async_v2", ""),
    ],
)
def test_versions_have_what_their_bindings_have(name, versions, machine):
    owner, member = name.split(".")
    for version in VERSIONS:
        made = machine(version=version)
        trt = importlib.import_module("tensorrt") if made.backend() else None
        assert hasattr(getattr(trt, owner, None), member) == (version in versions)


def test_tensorrt_before_cuda_is_refused(machine):
    machine()
    with pytest.raises(SystemError, match="before CUDA had answered"):
        importlib.import_module("tensorrt")


@pytest.mark.parametrize("version", VERSIONS)
def test_arguments_that_the_bindings_do_not_take_are_refused(version, trt):
    trt, _ = trt(version)
    builder = trt.Builder(logger(trt)[0])
    with pytest.raises(TypeError, match="incompatible arguments"):
        builder.create_network(flag=1)
    with pytest.raises(TypeError, match="incompatible arguments"):
        builder.create_builder_config().clear_flag("TF32")
    with pytest.raises(AttributeError, match="no settable attribute 'workspace_size'"):
        builder.create_builder_config().workspace_size = 1


def test_second_logger_is_refused(trt):
    trt, _ = trt("10.3.0")
    trt.Builder(logger(trt)[0])
    with pytest.raises(AssertionError, match="a second logger"):
        trt.Runtime(logger(trt)[0])


def test_run_before_all_addresses_is_refused(trt):
    trt, gpu = trt("10.3.0")
    made, said = context(trt, CONVOLUTION)
    assert made.set_input_shape("image", (1, 3, 8, 6))
    assert made.infer_shapes() == []
    made.set_tensor_address("image", gpu.allocate(576, "device"))
    assert not made.execute_async_v3(gpu.create_stream())
    assert said == ["Neither address nor allocator is set for tensor features"]


@pytest.mark.parametrize("flaw", ["freed", "small", "host", "stream", "context"])
def test_run_in_wrong_memory_or_on_a_wrong_stream_is_refused(flaw, trt):
    trt, gpu = trt("10.3.0")
    made, _ = context(trt, CONVOLUTION)
    made.set_input_shape("image", (1, 3, 8, 6))
    made.infer_shapes()
    address = gpu.allocate(
        400 if flaw == "small" else 768, "pinned" if flaw == "host" else "device"
    )
    for name in ("image", "features"):
        made.set_tensor_address(name, address)
    stream = 99 if flaw == "stream" else gpu.create_stream()
    if flaw == "freed":
        gpu.free(address, "device")
    if flaw == "context":
        gpu.pop()
    failure = importlib.import_module("fake_gpu").Failure
    with pytest.raises(failure, match=r"ILLEGAL_ADDRESS|INVALID_HANDLE|INVALID_CONTEXT"):
        made.execute_async_v3(stream)


def test_shapes_outside_of_the_profile_are_refused(trt):
    trt, _ = trt("10.3.0")
    made, said = context(trt, PAIR, batches=(1, 2, 4))
    assert made.set_input_shape("a", (4, 3))
    assert not made.set_input_shape("a", (5, 3))
    assert "dimension mismatch for tensor a" in said[0]


@pytest.mark.parametrize(("version", "shares"), [("8.6.1", False), ("10.3.0", True)])
def test_contexts_share_a_profile_only_where_they_may(version, shares, trt):
    trt, _ = trt(version)
    made, _ = context(trt, PAIR, batches=(1, 2, 4))
    other = made.engine.create_execution_context()
    assert other.set_input_shape("a", (1, 3)) == shares


@pytest.mark.parametrize("library", LIBRARIES)
def test_copies_of_pageable_memory_are_refused(library, machine):
    made = machine(library=library)
    made.backend()
    buffers = importlib.import_module("edgevit_tensorrt.buffers")
    gpu = importlib.import_module("edgevit_tensorrt.drivers").find_driver()
    gpu.start()
    gpu = gpu.open(0)
    with gpu.active():
        stream = gpu.create_stream()
        memory = gpu.allocate(4)
        with pytest.raises(buffers.CudaError, match=r"(?i)illegal.address"):
            stream.copy_to_device(memory.address, np.zeros(4, np.uint8))


def test_work_is_done_when_it_is_waited_for_and_not_before(trt):
    _, gpu = trt("10.3.0")
    device, pinned = gpu.allocate(1, "device"), gpu.allocate(1, "pinned")
    stream = gpu.create_stream()
    gpu.copy(device, pinned, 1, stream, to_device=True)
    gpu.blocks[pinned].memory[0] = b"x"
    gpu.synchronize(stream)
    assert gpu.blocks[device].memory[0] == b"x"
