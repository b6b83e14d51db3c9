"""CUDA through NVIDIA's cuda-bindings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

from cuda.bindings import driver

from edgevit_tensorrt.buffers import (
    Bytes,
    CudaError,
    GpuInfo,
    NoDriverError,
    PinnedMemory,
    Resource,
    cuda_version,
    host_address,
)


def call(function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
    """Call a driver function, whose answers are as various as the driver.

    Returns:
        What it answers besides the error code: nothing, or one value.

    Raises:
        CudaError: if the code is an error.
    """
    code, *values = function(*arguments)
    if code != driver.CUresult.CUDA_SUCCESS:
        _, text = driver.cuGetErrorString(code)
        reason = text.decode() if text else "unknown error"
        raise CudaError(f"{function.__name__} failed: {reason} ({code.name})")
    return values[0] if values else None


class CudaGraph:
    """See `edgevit_tensorrt.buffers.Graph`."""

    def __init__(self, gpu: CudaGpu, captured: Any, stream: CudaStream) -> None:
        try:
            self._executable = call(driver.cuGraphInstantiate, captured, 0)
        finally:
            call(driver.cuGraphDestroy, captured)
        destroy = partial(gpu.give_back, driver.cuGraphExecDestroy, self._executable)
        self._owner = Resource(int(self._executable), destroy)
        self._stream = stream

    def launch(self) -> None:
        """Queue the captured work once more, by one driver call."""
        call(driver.cuGraphLaunch, self._executable, self._stream.handle)


class CudaStream:
    """See `edgevit_tensorrt.buffers.Stream`."""

    can_capture = True

    def __init__(self, gpu: CudaGpu) -> None:
        self._gpu = gpu
        made = call(driver.cuStreamCreate, driver.CUstream_flags.CU_STREAM_NON_BLOCKING.value)
        self.handle = int(made)
        self._owner = Resource(self.handle, partial(gpu.give_back, driver.cuStreamDestroy, made))

    def copy_to_device(self, address: int, source: Bytes) -> None:
        """Queue a copy from pinned memory, which must last until it is done."""
        call(driver.cuMemcpyHtoDAsync, address, host_address(source), source.nbytes, self.handle)

    def copy_to_host(self, target: Bytes, address: int) -> None:
        """Queue a copy to pinned memory, which must last until it is done."""
        call(driver.cuMemcpyDtoHAsync, host_address(target), address, target.nbytes, self.handle)

    def wait_for(self, other: int) -> None:
        """Order the streams by an event; the driver keeps it until it was waited for."""
        flags = driver.CUevent_flags.CU_EVENT_DISABLE_TIMING.value
        event = call(driver.cuEventCreate, flags)
        try:
            call(driver.cuEventRecord, event, other)
            call(driver.cuStreamWaitEvent, self.handle, event, 0)
        finally:
            call(driver.cuEventDestroy, event)

    def capture(self, work: Callable[[], object]) -> CudaGraph:
        """Record work; other threads may go on to use CUDA meanwhile."""
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        call(driver.cuStreamBeginCapture, self.handle, mode)
        try:
            work()
        except BaseException:
            code, captured = driver.cuStreamEndCapture(self.handle)
            if code == driver.CUresult.CUDA_SUCCESS:
                call(driver.cuGraphDestroy, captured)
            raise
        return CudaGraph(self._gpu, call(driver.cuStreamEndCapture, self.handle), self)

    def synchronize(self) -> None:
        """Block until all queued work is done."""
        call(driver.cuStreamSynchronize, self.handle)


class CudaGpu:
    """See `edgevit_tensorrt.buffers.Gpu`."""

    def __init__(self, index: int) -> None:
        self._context = call(driver.cuDevicePrimaryCtxRetain, call(driver.cuDeviceGet, index))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Push the context, and pop it again: the application's own stays below."""
        call(driver.cuCtxPushCurrent, self._context)
        try:
            yield
        finally:
            call(driver.cuCtxPopCurrent)

    def give_back(self, function: Callable[..., tuple[Any, ...]], thing: Any) -> None:
        """Call a function that frees a driver object, on whichever thread this is."""
        with self.active():
            call(function, thing)

    def allocate(self, size: int) -> Resource:
        """Allocate `size` bytes on the device."""
        made = call(driver.cuMemAlloc, size)
        return Resource(int(made), partial(self.give_back, driver.cuMemFree, made))

    def allocate_pinned(self, size: int) -> Bytes:
        """Allocate uint8 (size,) in pinned host memory."""
        address = int(call(driver.cuMemAllocHost, size))
        free = partial(self.give_back, driver.cuMemFreeHost, address)
        return PinnedMemory(address, size, free).array()

    def create_stream(self) -> CudaStream:
        """Make a stream that does not wait for the default one."""
        return CudaStream(self)


class CudaDriver:
    """See `edgevit_tensorrt.buffers.Driver`."""

    library = "cuda-bindings"

    def start(self) -> None:
        """Initialise CUDA; later calls change nothing."""
        try:
            call(driver.cuInit, 0)
        except (CudaError, RuntimeError) as exc:  # RuntimeError: there is no libcuda
            raise NoDriverError(str(exc)) from exc

    def count(self) -> int:
        """Number of GPUs that `CUDA_VISIBLE_DEVICES` leaves."""
        return int(call(driver.cuDeviceGetCount))

    def version(self) -> str:
        """CUDA version that the driver supports, e.g. `12.6`."""
        return cuda_version(call(driver.cuDriverGetVersion))

    def info(self, index: int) -> GpuInfo:
        """Name and compute capability, without a context on the GPU."""
        device = call(driver.cuDeviceGet, index)
        name: bytes = call(driver.cuDeviceGetName, 256, device)
        major, minor = (
            call(driver.cuDeviceGetAttribute, getattr(driver.CUdevice_attribute, attribute), device)
            for attribute in (
                "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR",
                "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR",
            )
        )
        return GpuInfo(name.rstrip(b"\0").decode(errors="replace"), f"{major}.{minor}")

    def open(self, index: int) -> CudaGpu:
        """Retain the primary context on the first call for a GPU, and share it afterwards."""
        return _open(index)


@cache
def _open(index: int) -> CudaGpu:
    return CudaGpu(index)
