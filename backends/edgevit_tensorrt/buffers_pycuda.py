"""CUDA through PyCUDA, which has no graphs: every run is queued call by call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import numpy as np

from edgevit_tensorrt import buffers

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, for which PyCUDA has no name


@contextmanager
def translated() -> Iterator[None]:
    """Raise PyCUDA's errors inside a `with` block as CudaError."""
    import pycuda.driver

    try:
        yield
    except pycuda.driver.Error as exc:
        raise buffers.CudaError(str(exc)) from exc


class PycudaStream:
    """See `edgevit_tensorrt.buffers.Stream`."""

    can_capture = False

    def __init__(self, gpu: PycudaGpu) -> None:
        self._driver = gpu.driver
        with translated():
            stream = gpu.driver.Stream(NON_BLOCKING)
        self._held = [stream]
        self.handle = int(stream.handle)
        self._owner = buffers.Resource(self.handle, partial(gpu.drop, self._held))

    def copy_to_device(self, address: int, source: buffers.Bytes) -> None:
        """Queue a copy from pinned memory, which must last until it is done."""
        with translated():
            self._driver.memcpy_htod_async(address, source, self._held[0])

    def copy_to_host(self, target: buffers.Bytes, address: int) -> None:
        """Queue a copy to pinned memory, which must last until it is done."""
        with translated():
            self._driver.memcpy_dtoh_async(target, address, self._held[0])

    def wait_for(self, other: int) -> None:
        """Wait for all work of the context: PyCUDA takes no other library's stream."""
        with translated():
            self._driver.Context.synchronize()

    def capture(self, work: Callable[[], object]) -> buffers.Graph:
        """Raise CudaError, always; `can_capture` says so beforehand."""
        raise buffers.CudaError("PyCUDA has no CUDA graphs")

    def synchronize(self) -> None:
        """Block until all queued work is done."""
        with translated():
            self._held[0].synchronize()


class PycudaGpu:
    """See `edgevit_tensorrt.buffers.Gpu`."""

    def __init__(self, driver: Any, index: int) -> None:
        self.driver = driver
        with translated():
            self._context = driver.Device(index).retain_primary_context()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Push the context, and pop it again: the application's own stays below."""
        with translated():
            self._context.push()
        try:
            yield
        finally:
            self.driver.Context.pop()

    def drop(self, held: list[Any]) -> None:
        """Drop what a list holds; PyCUDA leaks it unless its context is current on the thread."""
        with self.active():
            held.clear()

    def allocate(self, size: int) -> buffers.Resource:
        """Allocate `size` bytes on the device."""
        with translated():
            held = [self.driver.mem_alloc(size)]
        return buffers.Resource(int(held[0]), partial(self.drop, held))

    def allocate_pinned(self, size: int) -> buffers.Bytes:
        """Allocate uint8 (size,) in pinned host memory."""
        with translated():
            held = [self.driver.pagelocked_empty(size, np.uint8)]
        address = buffers.host_address(held[0])
        return buffers.PinnedMemory(address, size, partial(self.drop, held)).array()

    def create_stream(self) -> PycudaStream:
        """Make a stream that does not wait for the default one."""
        return PycudaStream(self)


class PycudaDriver:
    """See `edgevit_tensorrt.buffers.Driver`."""

    library = "PyCUDA"

    def start(self) -> None:
        """Import PyCUDA, which links to the driver, and initialize CUDA."""
        try:
            import pycuda.driver
        except ImportError as exc:
            raise buffers.NoDriverError(f"PyCUDA cannot be imported: {exc}") from exc
        try:
            pycuda.driver.init()
        except pycuda.driver.Error as exc:
            raise buffers.NoDriverError(str(exc)) from exc
        self._driver: Any = pycuda.driver

    def count(self) -> int:
        """Number of GPUs that `CUDA_VISIBLE_DEVICES` leaves."""
        return int(self._driver.Device.count())

    def version(self) -> str:
        """CUDA version that the driver supports, e.g. `12.6`."""
        return buffers.cuda_version(self._driver.get_driver_version())

    def info(self, index: int) -> buffers.GpuInfo:
        """Name and compute capability, without a context on the GPU."""
        device = self._driver.Device(index)
        major, minor = device.compute_capability()
        return buffers.GpuInfo(device.name(), f"{major}.{minor}")

    def open(self, index: int) -> PycudaGpu:
        """Retain the primary context on the first call for a GPU, and share it afterwards."""
        return _open(self._driver, index)


@cache
def _open(driver: Any, index: int) -> PycudaGpu:
    return PycudaGpu(driver, index)
