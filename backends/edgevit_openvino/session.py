"""A compiled model as an edgevit session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from edgevit.backend import AnyArray, TensorInfo
from edgevit.errors import InferenceError, LoadError
from edgevit_openvino.vendor import openvino

DTYPES = {
    "f32": np.float32,
    "f16": np.float16,
    "f64": np.float64,
    "u8": np.uint8,
    "i8": np.int8,
    "i32": np.int32,
    "i64": np.int64,
    "boolean": np.bool_,
}


class OpenVINOSession:
    """One model in OpenVINO, with one infer request for each run in flight."""

    def __init__(
        self,
        compiled: openvino.CompiledModel,
        inputs: Iterable[str],
        outputs: Iterable[str],
        max_in_flight: int = 1,
    ) -> None:
        self.inputs = _tensor_infos(compiled.inputs, inputs)
        self.outputs = _tensor_infos(compiled.outputs, outputs)
        self.max_in_flight = max_in_flight
        self._requests = [
            _Request(compiled.create_infer_request(), self.inputs) for _ in range(max_in_flight)
        ]
        self._submitted = 0

    def run(self, feeds: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Run the graph once; see `edgevit.backend.Session`."""
        request = self._next_request()
        try:
            request.bind(feeds)
            arrays = request.vendors.infer(share_outputs=True).to_tuple()
        except RuntimeError as exc:
            raise _inference_error(exc) from exc
        request.run = self._count()
        return self._named(arrays, feeds)

    def submit(self, feeds: Mapping[str, AnyArray]) -> OpenVINORun:
        """Queue one run; see `edgevit.backend.AsyncSession`."""
        request = self._next_request()
        try:
            request.bind(feeds)
            request.vendors.start_async()
        except RuntimeError as exc:
            raise _inference_error(exc) from exc
        request.run = self._count()
        return OpenVINORun(self, request, feeds)

    def close(self) -> None:
        """Release the model, after the runs in flight."""
        for request in self._requests:
            request.give_up()
        self._requests = []

    def _next_request(self) -> _Request:
        if not self._requests:
            raise InferenceError("the session is closed; load the model again")
        request = self._requests[self._submitted % self.max_in_flight]
        request.give_up()
        return request

    def _count(self) -> int:
        self._submitted += 1
        return self._submitted

    def _named(
        self, arrays: Iterable[AnyArray], feeds: Mapping[str, AnyArray]
    ) -> dict[str, AnyArray]:
        # A graph input that is also an output would be the caller's own memory.
        return {
            info.name: array.copy() if info.name in feeds else array
            for info, array in zip(self.outputs, arrays, strict=True)
        }


class OpenVINORun:
    """A submitted run; see `edgevit.backend.RunHandle`."""

    def __init__(
        self, session: OpenVINOSession, request: _Request, feeds: Mapping[str, AnyArray]
    ) -> None:
        self._session, self._request, self._feeds = session, request, feeds
        self._number = request.run

    def result(self) -> dict[str, AnyArray]:
        """Wait for the run and take its outputs, once."""
        request = self._request
        if request.run != self._number:
            raise InferenceError(
                "the outputs of this run are given up: as many runs as may be in flight were "
                "submitted after it, or the session was closed. Call result() earlier"
            )
        try:
            request.vendors.wait()
        except RuntimeError as exc:
            raise _inference_error(exc) from exc
        arrays = [tensor.data for tensor in request.vendors.output_tensors]
        return self._session._named(arrays, self._feeds)


class _Request:
    """An infer request, and the number of the run that it serves; 0 for none."""

    def __init__(self, vendors: openvino.InferRequest, inputs: Iterable[TensorInfo]) -> None:
        self.vendors = vendors
        self.run = 0
        self._names = [info.name for info in inputs]
        self._bound: list[openvino.Tensor] = []

    def bind(self, feeds: Mapping[str, AnyArray]) -> None:
        """Point the inputs at the caller's memory; only a read-only array is copied."""
        arrays = [feeds[name] for name in self._names]
        bound = [openvino.Tensor(array, shared_memory=array.flags.writeable) for array in arrays]
        for index, tensor in enumerate(bound):
            self.vendors.set_input_tensor(index, tensor)
        self._bound = bound  # a tensor holds the memory that the request points at

    def give_up(self) -> None:
        """Wait for the run that lasts, if one does, and forget it."""
        if self.run:
            self.run = 0
            try:
                self.vendors.wait()
            except RuntimeError:  # of a run whose outputs nobody has asked for, or whose error was
                return  # raised to the one who did


def _tensor_infos(ports: Iterable[Any], names: Iterable[str]) -> list[TensorInfo]:
    return [_tensor_info(port, name) for port, name in zip(ports, names, strict=True)]


def _tensor_info(port: Any, name: str) -> TensorInfo:  # openvino.ConstOutput
    kind = port.element_type.get_type_name()
    if kind not in DTYPES:
        raise LoadError(f"tensor {name!r} has the type {kind}, which edgevit does not run")
    shape = tuple(axis.get_length() if axis.is_static else None for axis in port.partial_shape)
    return TensorInfo(name, np.dtype(DTYPES[kind]), shape)


def _inference_error(exc: Exception) -> InferenceError:
    return InferenceError(f"OpenVINO failed while running: {reason(exc)}")


def reason(exc: Exception) -> str:
    """What OpenVINO says, without the C++ source lines it says it from."""
    source = ("Exception from ", "Check '")
    lines = [line for line in str(exc).splitlines() if line and not line.startswith(source)]
    return " ".join(lines) or str(exc)
