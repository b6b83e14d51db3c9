"""Every error that edgevit raises on purpose."""

from edgevit.core.errors import (
    BackendError,
    BackendNotFoundError,
    BackendUnavailableError,
    DeviceError,
    EdgeVitError,
    ExportError,
    InferenceError,
    InputError,
    LoadError,
    ModelError,
    ModelNotFoundError,
    QuantizationError,
    SpecError,
    ZooError,
)

__all__ = [
    "BackendError",
    "BackendNotFoundError",
    "BackendUnavailableError",
    "DeviceError",
    "EdgeVitError",
    "ExportError",
    "InferenceError",
    "InputError",
    "LoadError",
    "ModelError",
    "ModelNotFoundError",
    "QuantizationError",
    "SpecError",
    "ZooError",
]
