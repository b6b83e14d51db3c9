"""Every error that edgevit raises on purpose.

A message says what failed, what was given, what is accepted and what to do next. Classes that
stand for a condition Python already names derive from that built-in too, so `except ValueError`
keeps working in code that does not know edgevit.
"""

from __future__ import annotations

from collections.abc import Iterable

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


class EdgeVitError(Exception):
    """Base of every error raised by edgevit."""


class InputError(EdgeVitError, ValueError):
    """An image, array or argument that the caller passed is not acceptable."""


class ModelError(EdgeVitError):
    """A model file or its use is wrong."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """No model file where the caller pointed."""


class SpecError(ModelError, ValueError):
    """A ModelSpec is absent, malformed or does not fit its graph."""


class BackendError(EdgeVitError):
    """A backend cannot be used, or failed."""


class BackendNotFoundError(BackendError, LookupError):
    """No backend of that name is registered."""


class BackendUnavailableError(BackendError, ImportError):
    """The backend is registered but its vendor library cannot be imported."""


class DeviceError(BackendError, ValueError):
    """The backend does not have that device."""


class LoadError(BackendError):
    """The runtime refused to load the model."""


class InferenceError(BackendError):
    """The runtime failed while running, or the session is closed."""


class ExportError(EdgeVitError):
    """A checkpoint could not be turned into a model file."""


class QuantizationError(EdgeVitError):
    """A model could not be quantised, or would have lost too much accuracy by it."""


class ZooError(EdgeVitError):
    """The model zoo has no such entry, or the entry's file is not what it should be."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Say which of `known` the caller may have meant.

    Example:
        >>> suggestion("onxruntime", ["onnxruntime", "openvino"])
        "; did you mean 'onnxruntime'?"
        >>> suggestion("tpu", ["onnxruntime", "openvino"])
        ''
    """
    from difflib import get_close_matches  # not loaded until something is wrong

    closest = get_close_matches(name, list(known), n=1)
    return f"; did you mean {closest[0]!r}?" if closest else ""
