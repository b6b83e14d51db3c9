"""Sessions whose inputs and outputs stay in a device's memory, with a queue of their own.

Every run in flight has a place: an I/O binding with buffers that keep their addresses for as long
as the shapes stay, which captured CUDA graphs need, and which spares ONNX Runtime an allocation and
a copy. Inputs are copied to the device by the thread that submits, outputs back by the one that
reads them, while another run is computed. One thread of the session's own runs everything, because
ONNX Runtime captures CUDA graphs for a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import onnxruntime

from edgevit.backend import AnyArray, TensorInfo
from edgevit.errors import InferenceError
from edgevit_onnxruntime.session import closed, inference_error, tensor_info

# Names a graph captured for a set of buffers (onnxruntime_run_options_config_keys.h); 0 is
# ONNX Runtime's own.
GRAPH_ID = "gpu_graph_id"


@dataclass(frozen=True, slots=True)
class Memory:
    """Where buffers are: ONNX Runtime's device type, such as `cuda` or `cpu`, and its index."""

    kind: str
    index: int = 0


class BoundSession:
    """One model in ONNX Runtime; see `edgevit.backend.AsyncSession`."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        memory: Memory,
        *,
        max_in_flight: int,
        is_captured: bool = False,
    ) -> None:
        """Bind buffers.

        Args:
            session: the loaded model.
            memory: where inputs and outputs shall be.
            max_in_flight: how many places there are.
            is_captured: whether runs are captured as CUDA graphs, one for each place.
        """
        self.inputs = [tensor_info(value) for value in session.get_inputs()]
        self.outputs = [tensor_info(value) for value in session.get_outputs()]
        self.max_in_flight = max_in_flight
        self._session: onnxruntime.InferenceSession | None = session
        self._places = [
            _Place(session, memory, self.outputs, graph=number + 1 if is_captured else None)
            for number in range(max_in_flight)
        ]
        self._submitted = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="edgevit-onnxruntime")

    def run(self, feeds: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Run the graph once; see `edgevit.backend.Session`."""
        return self.submit(feeds).result()

    def submit(self, feeds: Mapping[str, AnyArray]) -> BoundRun:
        """Queue one run; see `edgevit.backend.AsyncSession`."""
        if self._session is None:
            raise closed()
        place = self._places[self._submitted % self.max_in_flight]
        place.give_up()
        try:
            place.fill(feeds)
        except Exception as exc:  # its exception classes share no base below Exception
            raise inference_error(exc) from exc
        self._submitted += 1
        place.future = self._thread.submit(place.run)
        return BoundRun(place, place.future)

    def close(self) -> None:
        """Release the model, after the runs in flight."""
        for place in self._places:
            place.give_up()
        self._thread.shutdown()
        self._places, self._session = [], None


class BoundRun:
    """A submitted run; see `edgevit.backend.RunHandle`."""

    def __init__(self, place: _Place, future: Future[None]) -> None:
        self._place, self._future = place, future

    def result(self) -> dict[str, AnyArray]:
        """Wait for the run and take its outputs, once."""
        if self._place.future is not self._future:
            raise InferenceError(
                "the outputs of this run are given up: as many runs as may be in flight were "
                "submitted after it, or the session was closed. Call result() earlier"
            )
        try:
            self._future.result()
            return self._place.read()
        except Exception as exc:  # its exception classes share no base below Exception
            raise inference_error(exc) from exc


class _Place:
    """An I/O binding with its buffers, and the run that uses it, if any."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        memory: Memory,
        outputs: Sequence[TensorInfo],
        graph: int | None,
    ) -> None:
        self.future: Future[None] | None = None
        self._session, self._memory, self._outputs = session, memory, outputs
        self._binding = session.io_binding()
        self._inputs: dict[str, onnxruntime.OrtValue] = {}
        self._is_fixed = all(None not in info.shape for info in outputs)
        self._options: onnxruntime.RunOptions | None = None
        if graph is not None:
            self._options = onnxruntime.RunOptions()
            self._options.add_run_config_entry(GRAPH_ID, str(graph))
        if self._is_fixed:
            self._fixed = [self._buffer(info.shape, info.dtype) for info in outputs]
            for info, buffer in zip(outputs, self._fixed, strict=True):
                self._binding.bind_ortvalue_output(info.name, buffer)

    def fill(self, feeds: Mapping[str, AnyArray]) -> None:
        """Copy the inputs to the device, to the same addresses unless a shape has changed."""
        for name, array in feeds.items():
            buffer = self._inputs.get(name)
            if buffer is None or tuple(buffer.shape()) != array.shape:
                buffer = self._inputs[name] = self._buffer(array.shape, array.dtype)
                self._binding.bind_ortvalue_input(name, buffer)
            buffer.update_inplace(array)

    def run(self) -> None:
        """Compute; ONNX Runtime returns when the device is done."""
        if not self._is_fixed:  # what the last run has allocated does not fit other shapes
            self._binding.clear_binding_outputs()
            for info in self._outputs:
                self._binding.bind_output(info.name, self._memory.kind, self._memory.index)
        self._session.run_with_iobinding(self._binding, self._options)

    def read(self) -> dict[str, AnyArray]:
        """Copy the outputs from the device to new arrays on the host, by name."""
        arrays = self._binding.copy_outputs_to_cpu()
        return {info.name: array for info, array in zip(self._outputs, arrays, strict=True)}

    def give_up(self) -> None:
        """Wait for the run that lasts, if one does, and forget it."""
        last, self.future = self.future, None
        if last is not None:
            last.exception()

    def _buffer(self, shape: Sequence[int | None], dtype: object) -> onnxruntime.OrtValue:
        memory = self._memory
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(
            list(shape), dtype, memory.kind, memory.index
        )
