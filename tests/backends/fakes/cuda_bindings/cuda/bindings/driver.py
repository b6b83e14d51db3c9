"""cuda.bindings.driver: every function answers (CUresult, ...), handles are objects."""

from __future__ import annotations

from enum import IntEnum
from functools import wraps

from fake_gpu import MACHINE, Failure, settings

CUresult = IntEnum(
    "CUresult",
    {
        "CUDA_SUCCESS": 0,
        "CUDA_ERROR_INVALID_VALUE": 1,
        "CUDA_ERROR_OUT_OF_MEMORY": 2,
        "CUDA_ERROR_NOT_INITIALIZED": 3,
        "CUDA_ERROR_NO_DEVICE": 100,
        "CUDA_ERROR_INVALID_DEVICE": 101,
        "CUDA_ERROR_INVALID_CONTEXT": 201,
        "CUDA_ERROR_INVALID_HANDLE": 400,
        "CUDA_ERROR_ILLEGAL_STATE": 401,
        "CUDA_ERROR_ILLEGAL_ADDRESS": 700,
        "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED": 900,
        "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED": 901,
        "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD": 908,
    },
)
CUstream_flags = IntEnum("CUstream_flags", {"CU_STREAM_DEFAULT": 0, "CU_STREAM_NON_BLOCKING": 1})
CUevent_flags = IntEnum("CUevent_flags", {"CU_EVENT_DEFAULT": 0, "CU_EVENT_DISABLE_TIMING": 2})
CUstreamCaptureMode = IntEnum(
    "CUstreamCaptureMode",
    {
        "CU_STREAM_CAPTURE_MODE_GLOBAL": 0,
        "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL": 1,
        "CU_STREAM_CAPTURE_MODE_RELAXED": 2,
    },
)
CUdevice_attribute = IntEnum(
    "CUdevice_attribute",
    {
        "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR": 75,
        "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR": 76,
    },
)


class Handle:
    """CUstream, CUdeviceptr and the like."""

    def __init__(self, value):
        self._value = int(value)

    def __int__(self):
        return self._value


def answering(function):
    """Answer as the driver does: the code, then what the function gives."""

    @wraps(function)
    def call(*args):
        try:
            value = function(*args)
        except Failure as exc:
            return (CUresult[exc.code], *([None] * int(function.__annotations__.get("return", 0))))
        return (CUresult.CUDA_SUCCESS, value) if value is not None else (CUresult.CUDA_SUCCESS,)

    return call


@answering
def cuInit(flags):
    if settings()["driver"] == "absent":
        raise RuntimeError(
            '"cuda" is an NVIDIA driver library and can only be found via system search'
        )
    assert flags == 0
    MACHINE.start()


@answering
def cuDriverGetVersion() -> 1:
    return settings()["cuda"]


@answering
def cuDeviceGetCount() -> 1:
    MACHINE.require_started()
    return len(settings()["gpus"])


@answering
def cuDeviceGet(ordinal) -> 1:
    MACHINE.require_started()
    return Handle(ordinal)


@answering
def cuDeviceGetName(length, device) -> 1:
    return settings()["gpus"][int(device)].encode().ljust(length, b"\0")


@answering
def cuDeviceGetAttribute(attribute, device) -> 1:
    assert isinstance(attribute, CUdevice_attribute)
    return settings()["compute_capability"][attribute - 75]


@answering
def cuDevicePrimaryCtxRetain(device) -> 1:
    return Handle(MACHINE.retain(int(device)))


@answering
def cuCtxPushCurrent(context):
    MACHINE.push(int(context))


@answering
def cuCtxPopCurrent() -> 1:
    return Handle(MACHINE.pop())


@answering
def cuMemAlloc(size) -> 1:
    return Handle(MACHINE.allocate(size, "device"))


@answering
def cuMemFree(address):
    MACHINE.free(address, "device")


@answering
def cuMemAllocHost(size) -> 1:
    return MACHINE.allocate(size, "pinned")


@answering
def cuMemFreeHost(address):
    MACHINE.free(address, "pinned")


@answering
def cuMemcpyHtoDAsync(target, source, size, stream):
    MACHINE.copy(int(target), source, size, stream, to_device=True)


@answering
def cuMemcpyDtoHAsync(target, source, size, stream):
    MACHINE.copy(target, int(source), size, stream, to_device=False)


@answering
def cuStreamCreate(flags) -> 1:
    assert flags in tuple(CUstream_flags)
    return Handle(MACHINE.create_stream())


@answering
def cuStreamDestroy(stream):
    MACHINE.destroy_stream(stream)


@answering
def cuStreamSynchronize(stream):
    MACHINE.synchronize(stream)


@answering
def cuStreamBeginCapture(stream, mode):
    assert isinstance(mode, CUstreamCaptureMode)
    MACHINE.begin_capture(stream)


@answering
def cuStreamEndCapture(stream) -> 1:
    return Handle(MACHINE.end_capture(stream))


@answering
def cuGraphInstantiate(graph, flags) -> 1:
    assert flags == 0
    return Handle(MACHINE.instantiate(graph))


@answering
def cuGraphDestroy(graph):
    del MACHINE.graphs[int(graph)]


@answering
def cuGraphExecDestroy(executable):
    MACHINE.require_current()
    del MACHINE.executables[int(executable)]


@answering
def cuGraphLaunch(executable, stream):
    MACHINE.launch(executable, stream)


@answering
def cuEventCreate(flags) -> 1:
    assert flags in tuple(CUevent_flags)
    return Handle(MACHINE.create_event())


@answering
def cuEventRecord(event, stream):
    MACHINE.record(event, stream)


@answering
def cuStreamWaitEvent(stream, event, flags):
    assert flags == 0
    MACHINE.wait_event(stream, event)


@answering
def cuEventDestroy(event):
    MACHINE.destroy_event(event)


def cuGetErrorString(code):
    assert isinstance(code, CUresult)
    return CUresult.CUDA_SUCCESS, code.name.removeprefix("CUDA_ERROR_").lower().encode()
