"""ONNX Runtime as an edgevit backend.

Devices are ONNX Runtime's execution providers: `cpu`, and, where the installed build has the
provider and the machine the hardware, `cuda:N`, `tensorrt:N`, `directml:N` and `coreml`.

Options:
    threads: int, threads of one run; default: the physical cores this process may use.
    config: mapping of text to text, session configuration entries, over the defaults below.
    provider_options: mapping of text to text, options of the device's execution provider.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from edgevit.backend import (
    AnyArray,
    TensorInfo,
    check_options,
    threads_option,
    unknown_device,
    usable_cores,
)
from edgevit.errors import InferenceError, InputError, LoadError

PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cpu": "CPUExecutionProvider",
}

# Threads spin while a run lasts and never after it: an idle session that goes on spinning takes
# half of a two-core processor away from every other session.
CONFIG = {"session.force_spinning_stop": "1"}

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

ERRORS_ONLY = 3  # ONNX Runtime's log severity


class OnnxRuntimeSession:
    """One model in ONNX Runtime."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self.inputs = [_tensor_info(value) for value in session.get_inputs()]
        self.outputs = [_tensor_info(value) for value in session.get_outputs()]
        self._output_names = [info.name for info in self.outputs]

    def run(self, feeds: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Run the graph once; see `edgevit.backend.Session`."""
        if self._session is None:
            raise InferenceError("the session is closed; load the model again")
        try:
            outputs = self._session.run(self._output_names, feeds)
        except Exception as exc:  # its exception classes share no base below Exception
            raise InferenceError(f"ONNX Runtime failed while running: {exc}") from exc
        return dict(zip(self._output_names, outputs, strict=True))

    def close(self) -> None:
        """Release the model."""
        self._session = None


class OnnxRuntimeBackend:
    """ONNX Runtime; see the module for devices and options."""

    def devices(self) -> list[str]:
        """Devices of this build on this machine, accelerators first."""
        built = set(onnxruntime.get_available_providers())
        names = []
        for kind, provider in PROVIDERS.items():
            if provider in built:
                names += _devices_of(kind)
        return names

    def load(
        self, model: Path, *, device: str, options: Mapping[str, object]
    ) -> OnnxRuntimeSession:
        """Load a model; see `edgevit.backend.Backend`."""
        check_options(options, ("threads", "config", "provider_options"), "onnxruntime")
        if device not in self.devices():
            raise unknown_device(device, "onnxruntime", self.devices())
        provider, provider_options = _provider(device, options)
        session = _create(model, _session_options(options), provider, provider_options)
        _refuse_fallback(session, provider, device)
        return OnnxRuntimeSession(session)


def _tensor_info(value: onnxruntime.NodeArg) -> TensorInfo:
    if value.type not in DTYPES:
        raise LoadError(
            f"tensor {value.name!r} has the type {value.type}, which edgevit does not run"
        )
    shape = tuple(axis if isinstance(axis, int) else None for axis in value.shape)
    return TensorInfo(value.name, np.dtype(DTYPES[value.type]), shape)


def _devices_of(kind: str) -> list[str]:
    if kind in ("cuda", "tensorrt"):
        return [f"{kind}:{index}" for index in range(_cuda_device_count())]
    return ["directml:0"] if kind == "directml" else [kind]


def _cuda_device_count() -> int:
    """Ask the driver: a build with the CUDA provider says nothing about the machine."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:  # no driver, so no device
        return 0
    count = ctypes.c_int(0)
    is_ready = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return count.value if is_ready else 0


def _session_options(options: Mapping[str, object]) -> onnxruntime.SessionOptions:
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = threads_option(options, usable_cores())
    session_options.log_severity_level = ERRORS_ONLY
    for key, value in (CONFIG | _text_mapping(options, "config")).items():
        session_options.add_session_config_entry(key, value)
    return session_options


def _provider(device: str, options: Mapping[str, object]) -> tuple[str, dict[str, str]]:
    kind, _, index = device.partition(":")
    provider_options = {"device_id": index} if index else {}
    return PROVIDERS[kind], provider_options | _text_mapping(options, "provider_options")


def _text_mapping(options: Mapping[str, object], name: str) -> dict[str, str]:
    value = options.get(name, {})
    if not isinstance(value, Mapping):
        raise InputError(f"option {name!r} must be a mapping of text to text, not {value!r}")
    return {str(key): str(entry) for key, entry in value.items()}


def _create(
    model: Path,
    session_options: onnxruntime.SessionOptions,
    provider: str,
    provider_options: dict[str, str],
) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(
            str(model), session_options, providers=[(provider, provider_options)]
        )
    except Exception as exc:  # its exception classes share no base below Exception
        raise LoadError(f"ONNX Runtime cannot load {str(model)!r}: {exc}") from exc


def _refuse_fallback(session: onnxruntime.InferenceSession, provider: str, device: str) -> None:
    """ONNX Runtime goes on with the CPU where a provider fails to start; we do not."""
    active: Sequence[Any] = session.get_providers()
    if active[0] != provider:
        raise LoadError(
            f"ONNX Runtime could not start {provider} for device {device!r} and fell back to "
            f"{active[0]}; check its driver and libraries, or pass device='cpu'"
        )
