"""An ONNX Runtime session as an edgevit session."""

from collections.abc import Mapping

import numpy as np
import onnxruntime

from edgevit.backend import AnyArray, TensorInfo
from edgevit.errors import InferenceError, LoadError

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


class OnnxRuntimeSession:
    """One model in ONNX Runtime, an `edgevit.backend.Session` whose outputs are new arrays."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self.inputs = [tensor_info(value) for value in session.get_inputs()]
        self.outputs = [tensor_info(value) for value in session.get_outputs()]
        self._output_names = [info.name for info in self.outputs]

    def run(self, feeds: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Run the graph once; see `edgevit.backend.Session`."""
        if self._session is None:
            raise closed()
        try:
            outputs = self._session.run(self._output_names, feeds)
        except Exception as exc:  # its exception classes share no base below Exception
            raise inference_error(exc) from exc
        return dict(zip(self._output_names, outputs, strict=True))

    def close(self) -> None:
        """Release the model's memory; later runs raise InferenceError."""
        self._session = None


def tensor_info(value: onnxruntime.NodeArg) -> TensorInfo:
    """Describe an input or output.

    Raises:
        LoadError: if its type is none that edgevit runs.
    """
    if value.type not in DTYPES:
        raise LoadError(
            f"tensor {value.name!r} has the type {value.type}, which edgevit does not run"
        )
    shape = tuple(axis if isinstance(axis, int) else None for axis in value.shape)
    return TensorInfo(value.name, np.dtype(DTYPES[value.type]), shape)


def inference_error(exc: Exception) -> InferenceError:
    """Wrap what ONNX Runtime raised while it ran."""
    return InferenceError(f"ONNX Runtime failed while running: {exc}")


def closed() -> InferenceError:
    """Make the error of a run after `close`."""
    return InferenceError("the session is closed; load the model again")
