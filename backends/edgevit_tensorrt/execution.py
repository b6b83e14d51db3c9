"""One execution context of an engine: its stream, its memory, and its CUDA graph."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from edgevit.backend import AnyArray, TensorInfo
from edgevit.errors import InferenceError, InputError, LoadError
from edgevit_tensorrt.buffers import CudaError, Graph
from edgevit_tensorrt.device_arrays import DeviceArray, device_array, is_on_device
from edgevit_tensorrt.engine import Engine, OutputMemory, Tensor

logger = logging.getLogger(__name__)


class Execution:
    """Runs an engine, one run at a time; another one runs beside it on a stream of its own.

    A run is captured as a CUDA graph when it is the second with the same shapes in the same memory,
    and launched as one from then on.
    """

    def __init__(self, engine: Engine, *, profile: int, gpu_index: int, may_capture: bool) -> None:
        """Make a context; the engine's GPU need not be active.

        Raises:
            LoadError: if there is not enough memory.
        """
        self._engine, self._gpu_index = engine, gpu_index
        with engine.gpu.active():
            self._stream: Any = engine.gpu.create_stream()  # None once it is released
            self._context: Any = engine.engine.create_execution_context()
            if self._context is None:
                raise LoadError(engine.log.reason("TensorRT makes no context, without a reason"))
            if profile:
                self._context.set_optimization_profile_async(profile, self._stream.handle)
                self._stream.synchronize()
        self._inputs = [self._tensor(info) for info in engine.inputs]
        self._outputs = [self._tensor(info) for info in engine.outputs]
        self._unsized: dict[str, OutputMemory] = {}
        self._device_feeds: dict[str, DeviceArray] = {}
        self._may_capture = may_capture and self._stream.can_capture
        self._place: object = None
        self._runs_here = 0
        self._graph: Graph | None = None
        self.number = 0  # of the last run that was started here

    def start(self, feeds: Mapping[str, Any]) -> None:
        """Queue a run; the one before it is done.

        Args:
            feeds: NumPy arrays, which are copied at once, or arrays on the GPU, which are not.

        Raises:
            InferenceError: if TensorRT or CUDA refuses it.
            InputError: if an array on the GPU does not fit.
        """
        self.number += 1
        with self._engine.gpu.active():
            try:
                with self._failures():
                    self._take(feeds)
                    self._bind()
                    self._queue()
            except BaseException:
                self._place = self._graph = None
                self.wait()
                raise

    def wait(self) -> None:
        """Block until the last run is done.

        Raises:
            InferenceError: if it failed.
        """
        with self._engine.gpu.active(), self._failures():
            self._stream.synchronize()

    def release(self) -> None:
        """Wait for the run, and drop what is on the GPU; a handle may still refer to this."""
        self.wait()
        self._inputs, self._outputs, self._unsized = [], [], {}
        self._graph = self._context = self._stream = None

    def outputs(self) -> dict[str, AnyArray]:
        """Outputs of the last run, once it is done; valid until the next start."""
        return {tensor.info.name: _widened(tensor) for tensor in self._outputs}

    def _tensor(self, info: TensorInfo) -> Tensor:
        return Tensor(info, self._engine.dtypes[info.name], self._engine.gpu)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except CudaError as exc:
            said = self._engine.log.reason("")
            raise InferenceError(f"TensorRT failed while running: {exc} {said}".rstrip()) from exc

    def _failure(self, what: str) -> InferenceError:
        said = self._engine.log.reason("no reason given")
        return InferenceError(f"TensorRT failed while running: {what}: {said}")

    def _take(self, feeds: Mapping[str, Any]) -> None:
        """Copy host arrays into pinned memory, and note where GPU arrays are."""
        self._device_feeds = {}
        for tensor in self._inputs:
            feed = feeds[tensor.info.name]
            if is_on_device(feed):
                info = TensorInfo(tensor.info.name, tensor.dtype, tensor.info.shape)
                array = device_array(feed, info, self._gpu_index, self._stream)
                self._device_feeds[info.name] = array
                tensor.reshape(array.shape, address=array.address, on_host=False)
            else:
                tensor.reshape(feed.shape)
                tensor.array[...] = _narrowed(feed, tensor)

    def _bind(self) -> None:
        """Tell the context shapes and addresses, where they are not those of the run before."""
        place = [(tensor.shape, tensor.address) for tensor in self._inputs]
        if place == self._place:
            return
        self._place, self._graph, self._runs_here = None, None, 0
        for tensor in self._inputs:
            if not self._context.set_input_shape(tensor.info.name, tensor.shape):
                raise self._failure(f"input {tensor.info} cannot have the shape {tensor.shape}")
        self._infer_shapes()
        for tensor in self._outputs:
            self._size(tensor)
        for tensor in (*self._inputs, *self._outputs):
            name = tensor.info.name
            if name not in self._unsized and not self._context.set_tensor_address(
                name, tensor.address
            ):
                raise self._failure(f"tensor {tensor.info} cannot be at {tensor.address:#x}")
        self._place = place

    def _infer_shapes(self) -> None:
        try:
            missing = self._context.infer_shapes()
        except RuntimeError as exc:
            raise self._failure(str(exc)) from exc
        if missing:
            raise self._failure(f"the shapes of {missing} are not determined")

    def _size(self, tensor: Tensor) -> None:
        """Make room for an output, or leave that to the run where its shape depends on data."""
        name = tensor.info.name
        shape = tuple(self._context.get_tensor_shape(name))
        if -1 not in shape:
            tensor.reshape(shape)
        elif name not in self._unsized:
            self._unsized[name] = OutputMemory(self._engine.gpu)
            self._context.set_output_allocator(name, self._unsized[name])

    def _queue(self) -> None:
        if self._graph is None and self._runs_here and self._may_capture and not self._unsized:
            self._graph = self._captured()
        if self._graph is None:
            self._enqueue()
        else:
            self._graph.launch()
        self._runs_here += 1

    def _captured(self) -> Graph | None:
        try:
            captured: Graph = self._stream.capture(self._enqueue)
        except (CudaError, InferenceError) as exc:  # loops and conditions cannot be captured
            logger.info("no CUDA graph of this model: %s", exc)
            self._engine.log.take_errors()
            self._may_capture = False
            return None
        return captured

    def _enqueue(self) -> None:
        for tensor in self._inputs:
            if tensor.info.name not in self._device_feeds:
                self._stream.copy_to_device(tensor.address, tensor.bytes)
        if not self._context.execute_async_v3(self._stream.handle):
            raise self._failure("the run was not queued")
        for tensor in self._outputs:
            memory = self._unsized.get(tensor.info.name)
            if memory is not None and memory.memory is not None:
                tensor.reshape(memory.shape, address=memory.memory.address)
            self._stream.copy_to_host(tensor.bytes, tensor.address)


def _narrowed(feed: AnyArray, tensor: Tensor) -> AnyArray:
    """Check that 64-bit integers fit where TensorRT has but 32 bits; others pass unchanged."""
    if feed.dtype == tensor.dtype or feed.size == 0:
        return feed
    limits = np.iinfo(tensor.dtype)
    if feed.min() < limits.min or feed.max() > limits.max:
        raise InputError(
            f"input {tensor.info} holds numbers beyond {tensor.dtype}, "
            "which is all that this version of TensorRT has; install 10 or newer"
        )
    return feed


def _widened(tensor: Tensor) -> AnyArray:
    if tensor.dtype == tensor.info.dtype:
        return tensor.array
    return tensor.array.astype(tensor.info.dtype)
