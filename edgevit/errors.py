"""Every error that edgevit raises on purpose.

A message says what failed, what was given, what is accepted and what to do next. Classes that
stand for a condition Python already names derive from that built-in too, so `except ValueError`
keeps working in code that does not know edgevit.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module

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
    """A model could not be quantized, or would have lost too much accuracy by it."""


class ZooError(EdgeVitError):
    """The model zoo has no such entry, or the entry's file is not what it should be."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Say which of `known` the caller may have meant; for a message, before what it lists.

    Example:
        >>> suggestion("onxruntime", ["onnxruntime", "openvino"])
        " (did you mean 'onnxruntime'?)"
        >>> suggestion("tpu", ["onnxruntime", "openvino"])
        ''
    """
    from difflib import get_close_matches  # not loaded until something is wrong

    closest = get_close_matches(name, list(known), n=1)
    return f" (did you mean {closest[0]!r}?)" if closest else ""


# What each extra of the project installs, as pyproject.toml has it. No public index holds edgevit,
# so a message names these packages instead of the extra; a program that starts reads no metadata.
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime>=1.20",),
    "openvino": ("openvino>=2026.4",),
    "tensorrt": (
        "tensorrt>=8.6.1; platform_machine == 'x86_64' or platform_machine == 'AMD64'",
        "cuda-bindings>=12.8",
    ),
    "cuda": (
        "onnxruntime-gpu[cuda,cudnn]>=1.21; "
        "platform_machine == 'x86_64' or platform_machine == 'AMD64'",
    ),
    "export": (
        "torch>=2.5",
        "onnx>=1.17",
        "onnx-ir>=0.1.16",
        "onnxscript>=0.2",
        "onnxruntime>=1.20",
        "safetensors>=0.4.3",
    ),
    "quantize": ("onnx>=1.17", "onnx-ir>=0.1.16", "onnxruntime>=1.20"),
    "eval": ("pycocotools>=2.0.8", "pillow>=10.3"),
    "plot": ("matplotlib>=3.8",),
}


def install_hint(extra: str) -> str:
    """Write the command that installs what an extra needs on this machine.

    Example:
        >>> install_hint("quantize")
        "python -m pip install 'onnx>=1.17' 'onnx-ir>=0.1.16' 'onnxruntime>=1.20'"
    """
    from platform import machine  # not loaded until something is missing

    wanted = (requirement.partition("; ") for requirement in EXTRAS[extra])
    here = [name for name, _, marker in wanted if not marker or f"'{machine()}'" in marker]
    return " ".join(["python -m pip install", *map(repr, here)])


def require_package(module: str, extra: str, use: str) -> None:
    """Check that a package of an extra can be imported; `use` begins the message.

    Raises:
        EdgeVitError: if it cannot; says how to install it.
    """
    try:
        import_module(module)
    except ImportError as exc:
        raise EdgeVitError(
            f"{use}, which cannot be imported ({exc}); install it with: {install_hint(extra)}"
        ) from exc
