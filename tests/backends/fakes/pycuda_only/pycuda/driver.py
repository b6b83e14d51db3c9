"""pycuda.driver: objects that free themselves, but only on a thread where their context is."""

from __future__ import annotations

import threading
import warnings

import numpy as np
from fake_gpu import MACHINE, PRIMARY, Failure, settings

if settings()["driver"] == "absent":
    raise ImportError("libcuda.so.1: cannot open shared object file: No such file or directory")


class Error(Exception):
    """Base of PyCUDA's errors."""


class MemoryError(Error):
    """Out of memory."""


class LogicError(Error):
    """Any other misuse."""


def call(function, *args, **kwargs):
    try:
        return function(*args, **kwargs)
    except Failure as exc:
        kind = MemoryError if "OUT_OF_MEMORY" in exc.code else LogicError
        raise kind(str(exc)) from None


def init(flags=0):
    call(MACHINE.start)


def get_driver_version():
    return settings()["cuda"]


THREADS = set()  # that made contexts


class Context:
    def __init__(self, number):
        self._number = number
        THREADS.add(threading.get_ident())

    def push(self):
        call(MACHINE.push, self._number)

    @staticmethod
    def pop():
        call(MACHINE.pop)

    @staticmethod
    def synchronize():
        for handle in list(MACHINE.streams):
            call(MACHINE.synchronize, handle)


class Device:
    def __init__(self, index):
        self._index = index

    @staticmethod
    def count():
        call(MACHINE.require_started)
        return len(settings()["gpus"])

    def name(self):
        return settings()["gpus"][self._index]

    def compute_capability(self):
        return tuple(settings()["compute_capability"])

    def retain_primary_context(self):
        return Context(call(MACHINE.retain, self._index))


class Dependent:
    """Something that PyCUDA frees when it is dropped, or leaks with a warning."""

    _free = None

    def __del__(self):
        if self._free is None:
            return
        is_current = bool(MACHINE.stack) and MACHINE.stack[-1] >= PRIMARY
        if not is_current and threading.get_ident() not in THREADS:
            warnings.warn("leaked: its context is another thread's", UserWarning, stacklevel=1)
            return
        MACHINE.push(PRIMARY)
        call(*self._free)
        MACHINE.pop()


class DeviceAllocation(Dependent):
    def __init__(self, size):
        self._address = call(MACHINE.allocate, size, "device")
        self._free = (MACHINE.free, self._address, "device")

    def __int__(self):
        return self._address


class PagelockedHostAllocation(Dependent):
    def __init__(self, size):
        self.address = call(MACHINE.allocate, size, "pinned")
        self._free = (MACHINE.free, self.address, "pinned")
        self.__array_interface__ = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (self.address, False),
            "version": 3,
        }


def mem_alloc(size):
    return DeviceAllocation(size)


def pagelocked_empty(shape, dtype, order="C", mem_flags=0):
    return np.asarray(PagelockedHostAllocation(int(np.prod(shape)) * np.dtype(dtype).itemsize))


class Stream(Dependent):
    def __init__(self, flags=0):
        assert isinstance(flags, int)
        self.handle = call(MACHINE.create_stream)
        self._free = (MACHINE.destroy_stream, self.handle)

    def synchronize(self):
        call(MACHINE.synchronize, self.handle)


def memcpy_htod_async(dest, src, stream=None):
    assert isinstance(stream, Stream)
    source = src.__array_interface__["data"][0]
    call(MACHINE.copy, dest, source, src.nbytes, stream.handle, to_device=True)


def memcpy_dtoh_async(dest, src, stream=None):
    assert isinstance(stream, Stream)
    target = dest.__array_interface__["data"][0]
    call(MACHINE.copy, target, src, dest.nbytes, stream.handle, to_device=False)
