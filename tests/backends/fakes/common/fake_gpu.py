"""GPUs without a GPU: device memory is host memory that only the device's queue may touch.

Every rule that CUDA has and that a caller can break is enforced. Queued work is done when its
stream is waited for, not before, so memory that is reused too early is seen. `settings()` says what
machine this is: JSON in EDGEVIT_FAKE_GPU, which child processes inherit.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

LEGACY_STREAM, PRIMARY = 1, 1000


def settings():
    """What machine this is."""
    default = {
        "driver": True,
        "gpus": ["Fake GPU"],
        "compute_capability": [8, 7],
        "dla_cores": 0,
        "cuda": 12060,
        "version": "10.3.0",
        "log": None,
        "free_bytes": 2**40,
        "build": "works",
        "capture": True,
    }
    return {**default, **json.loads(os.environ.get("EDGEVIT_FAKE_GPU", "{}"))}


def record(**event):
    """Note a call in the log that all processes share."""
    path = settings()["log"]
    if path:
        with Path(path).open("a") as file:
            file.write(json.dumps(event) + "\n")


class Failure(Exception):  # noqa: N818
    """A call that CUDA refuses: error code, and what was wrong for whoever debugs the caller."""

    def __init__(self, code, what):
        super().__init__(f"{code}: {what}")
        self.code = code


@dataclass
class Block:
    address: int
    size: int
    kind: str  # device or pinned
    memory: object


@dataclass
class Stream:
    handle: int
    queue: list = field(default_factory=list)
    capturing: list | None = None
    thread: int | None = None
    broken: bool = False


class Machine:
    def __init__(self):
        self.lock = threading.RLock()
        self.is_started = False
        self.blocks = {}
        self.streams = {LEGACY_STREAM: Stream(LEGACY_STREAM)}
        self.graphs, self.executables, self.events = {}, {}, {}
        self.numbers = itertools.count(7000)
        self.retained = 0
        self.counts = {"launches": 0, "captures": 0, "allocations": 0}
        self.stacks = threading.local()

    # Contexts

    @property
    def stack(self):
        if not hasattr(self.stacks, "contexts"):
            self.stacks.contexts = []
        return self.stacks.contexts

    def start(self):
        if not settings()["driver"]:
            raise Failure("CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected")
        self.is_started = True

    def require_started(self):
        if not self.is_started:
            raise Failure("CUDA_ERROR_NOT_INITIALIZED", "cuInit comes first")

    def require_current(self):
        self.require_started()
        if not self.stack or self.stack[-1] < PRIMARY:
            raise Failure("CUDA_ERROR_INVALID_CONTEXT", "no primary context on this thread")

    def gpu_name(self):
        """Name of the GPU whose context is current."""
        self.require_current()
        return settings()["gpus"][self.stack[-1] - PRIMARY]

    def retain(self, index):
        self.require_started()
        if not 0 <= index < len(settings()["gpus"]):
            raise Failure("CUDA_ERROR_INVALID_DEVICE", f"GPU {index}")
        self.retained += 1
        return PRIMARY + index

    def push(self, context):
        if context < PRIMARY or not self.retained:
            raise Failure("CUDA_ERROR_INVALID_CONTEXT", f"{context} is no retained context")
        self.stack.append(context)

    def pop(self):
        if not self.stack:
            raise Failure("CUDA_ERROR_INVALID_CONTEXT", "nothing was pushed")
        return self.stack.pop()

    # Memory

    def allocate(self, size, kind):
        self.require_current()
        if size <= 0:
            raise Failure("CUDA_ERROR_INVALID_VALUE", f"{size} bytes")
        with self.lock:
            if sum(block.size for block in self.blocks.values()) + size > settings()["free_bytes"]:
                raise Failure("CUDA_ERROR_OUT_OF_MEMORY", "out of memory")
            memory = ctypes.create_string_buffer(size)
            ctypes.memset(memory, 0xA5, size)
            block = Block(ctypes.addressof(memory), size, kind, memory)
            self.blocks[block.address] = block
            self.counts["allocations"] += 1
            return block.address

    def free(self, address, kind):
        self.require_current()
        with self.lock:
            block = self.blocks.pop(int(address), None)
        if block is None or block.kind != kind:
            raise Failure("CUDA_ERROR_INVALID_VALUE", f"{address} is no {kind} memory")
        ctypes.memset(block.memory, 0x5A, block.size)

    def require_memory(self, address, size, kind):
        with self.lock:
            for block in self.blocks.values():
                end = block.address + block.size
                if block.kind == kind and block.address <= address and address + size <= end:
                    return
        raise Failure("CUDA_ERROR_ILLEGAL_ADDRESS", f"{size} bytes at {address:#x} are no {kind}")

    # Streams

    def create_stream(self):
        self.require_current()
        handle = next(self.numbers)
        self.streams[handle] = Stream(handle)
        return handle

    def stream(self, handle):
        self.require_current()
        if int(handle) not in self.streams:
            raise Failure("CUDA_ERROR_INVALID_HANDLE", f"stream {handle}")
        return self.streams[int(handle)]

    def push_work(self, handle, work):
        stream = self.stream(handle)
        with self.lock:
            (stream.queue if stream.capturing is None else stream.capturing).append(work)

    def copy(self, target, source, size, handle, *, to_device):
        """Copies between pageable memory are refused: they wait, and cannot be captured."""
        kinds = ("device", "pinned") if to_device else ("pinned", "device")

        def work():
            self.require_memory(target, size, kinds[0])
            self.require_memory(source, size, kinds[1])
            ctypes.memmove(target, source, size)

        self.require_memory(target, size, kinds[0])
        self.require_memory(source, size, kinds[1])
        self.push_work(handle, work)

    def synchronize(self, handle):
        stream = self.stream(handle)
        if stream.capturing is not None:
            raise Failure("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "waiting while capturing")
        with self.lock:
            while stream.queue:
                stream.queue.pop(0)()

    def destroy_stream(self, handle):
        self.synchronize(handle)
        del self.streams[int(handle)]

    # Events

    def create_event(self):
        self.require_current()
        event = next(self.numbers)
        self.events[event] = None
        return event

    def record(self, event, handle):
        self.stream(handle)
        self.events[int(event)] = int(handle)

    def wait_event(self, handle, event):
        recorded = self.events.get(int(event))
        if recorded is None:
            raise Failure("CUDA_ERROR_INVALID_HANDLE", f"event {event} is not recorded")
        self.push_work(handle, lambda: self.synchronize(recorded))

    def destroy_event(self, event):
        self.require_current()
        del self.events[int(event)]

    # Graphs

    def begin_capture(self, handle):
        stream = self.stream(handle)
        if stream.handle == LEGACY_STREAM or stream.capturing is not None:
            raise Failure("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "not this stream")
        stream.capturing, stream.broken = [], False
        stream.thread = threading.get_ident()

    def end_capture(self, handle):
        stream = self.stream(handle)
        if stream.capturing is None:
            raise Failure("CUDA_ERROR_ILLEGAL_STATE", "nothing is captured")
        if stream.thread != threading.get_ident():
            raise Failure("CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", "another thread began")
        work, stream.capturing = stream.capturing, None
        if stream.broken:
            raise Failure("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "the capture was invalidated")
        graph = next(self.numbers)
        self.graphs[graph] = work
        return graph

    def instantiate(self, graph):
        self.require_current()
        executable = next(self.numbers)
        self.executables[executable] = list(self.graphs[int(graph)])
        self.counts["captures"] += 1
        return executable

    def launch(self, executable, handle):
        if int(executable) not in self.executables:
            raise Failure("CUDA_ERROR_INVALID_VALUE", f"{executable} is no graph")
        self.counts["launches"] += 1
        for work in self.executables[int(executable)]:
            self.push_work(handle, work)


MACHINE = Machine()
