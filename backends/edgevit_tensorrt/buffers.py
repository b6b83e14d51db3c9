"""Device memory, pinned host memory, streams and graphs, whichever library reaches CUDA.

Two libraries do: NVIDIA's cuda-bindings, which the extra installs, and PyCUDA, which is taken where
only it is installed, as on many Jetsons. Both work in the device's primary context, the one that
PyTorch, CuPy and CUDA's runtime use, so their arrays can be read and nothing is initialized twice.

Whatever is allocated is given back when nothing refers to it any more, on any thread.
"""

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


class CudaError(Exception):
    """CUDA refused a call; the message names the call and the error."""


class NoDriverError(Exception):
    """The CUDA driver is missing or does not answer; the message says why."""


@dataclass(frozen=True, slots=True)
class GpuInfo:
    """One GPU.

    Args:
        name: the product's name.
        compute_capability: e.g. `8.7`.
    """

    name: str
    compute_capability: str


class Resource:
    """Something on the GPU with an address or a handle, given back with the last reference."""

    def __init__(self, address: int, free: Callable[[], object]) -> None:
        """Own what is at an address.

        Args:
            address: device address, host address or handle.
            free: gives it back; must not refer to this object.
        """
        self.address = address
        # At exit the driver gives everything back itself, and may be gone already.
        weakref.finalize(self, free).atexit = False


class PinnedMemory(Resource):
    """Host memory that the GPU copies from and to without the processor."""

    def __init__(self, address: int, size: int, free: Callable[[], object]) -> None:
        """Own `size` bytes at the host address `address`; see `Resource`."""
        super().__init__(address, free)
        self.__array_interface__ = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
        }

    def array(self) -> Bytes:
        """View it as bytes; the view, and every view of it, keeps the memory alive."""
        return np.asarray(self)


class Graph(Protocol):
    """Work of a stream that was captured, to be repeated by one call."""

    def launch(self) -> None:
        """Queue the captured work once more, on the stream that it was captured from."""


class Stream(Protocol):
    """A queue of work on one GPU; every call but `handle` needs the GPU to be `active`."""

    handle: int
    can_capture: bool

    def copy_to_device(self, address: int, source: Bytes) -> None:
        """Queue a copy of pinned memory to the device; both must last until it is done."""

    def copy_to_host(self, target: Bytes, address: int) -> None:
        """Queue a copy from the device to pinned memory; both must last until it is done."""

    def wait_for(self, other: int) -> None:
        """Let later work wait for what another library has queued on its stream `other`."""

    def capture(self, work: Callable[[], object]) -> Graph:
        """Record what `work` queues here instead of doing it.

        Raises:
            CudaError: if it cannot be recorded; the stream is as before.
        """

    def synchronize(self) -> None:
        """Block the calling thread until all work queued so far is done."""


class Gpu(Protocol):
    """The primary context of one GPU, which lasts as long as the process."""

    def active(self) -> AbstractContextManager[None]:
        """Make the context the calling thread's own for a `with` block."""

    def allocate(self, size: int) -> Resource:
        """Allocate `size` bytes on the device, which are freed with the Resource."""

    def allocate_pinned(self, size: int) -> Bytes:
        """Allocate uint8 (size,) in pinned host memory, which is freed with its last view."""

    def create_stream(self) -> Stream:
        """Make a stream that waits for no other one."""


class Driver(Protocol):
    """A library that reaches the CUDA driver."""

    library: str

    def start(self) -> None:
        """Initialize CUDA.

        Raises:
            NoDriverError: if there is no driver, or it does not answer.
        """

    def count(self) -> int:
        """Number of GPUs that this process may use, 0 or more."""

    def version(self) -> str:
        """CUDA version of the driver, e.g. `12.6`."""

    def info(self, index: int) -> GpuInfo:
        """Name and compute capability of a GPU, by its number from 0 on."""

    def open(self, index: int) -> Gpu:
        """Retain a GPU's primary context, once for each GPU."""


def host_address(array: Bytes) -> int:
    """Host address of a contiguous array's first byte."""
    return int(array.__array_interface__["data"][0])


def cuda_version(number: int) -> str:
    """Write the driver's number.

    Example:
        >>> cuda_version(12060)
        '12.6'
    """
    return f"{number // 1000}.{number % 1000 // 10}"
