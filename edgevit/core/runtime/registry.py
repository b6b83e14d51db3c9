"""Backends, found through the entry-point group `edgevit.backends`.

A plugin is any installed distribution that names a zero-argument callable there:

    [project.entry-points."edgevit.backends"]
    myruntime = "my_package:MyBackend"
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

from edgevit.core.machine.packages import GROUP, load, registered
from edgevit.core.runtime.protocols import Backend, unknown_device
from edgevit.errors import (
    EXTRAS,
    BackendError,
    BackendNotFoundError,
    BackendUnavailableError,
    DeviceError,
    install_hint,
    suggestion,
)

# What `auto` tries, in this order; then any third party's backend by name. TensorRT comes first: it
# is there only where somebody installed it and a GPU answers. It announces the build of an engine,
# which takes minutes once. OpenVINO comes before ONNX Runtime because it was the faster of the two
# on every CAS-ViT at 224x224 on an x86-64 processor.
PREFERENCE = ("tensorrt", "openvino", "onnxruntime")


def backend_names() -> list[str]:
    """Names of all registered backends, in the order that `auto` tries them."""
    names = sorted(registered(GROUP))
    preferred = [name for name in PREFERENCE if name in names]
    return preferred + [name for name in names if name not in preferred]


@cache
def get_backend(name: str) -> Backend:
    """Import a backend, once.

    Raises:
        BackendNotFoundError: if no such backend is registered.
        BackendUnavailableError: if the plugin or its vendor library cannot be imported or started.
        BackendError: if the plugin does not make a Backend.
    """
    backend = _make(name)
    if not isinstance(backend, Backend):
        raise BackendError(
            f"backend {name!r} is a {type(backend).__name__} without devices() and load(); "
            "its plugin does not follow edgevit.backend.Backend"
        )
    return backend


def choose_backend(name: str = "auto", device: str = "auto") -> tuple[str, Backend]:
    """Find a backend by name, or for `auto` the first that can be used and has the device.

    Args:
        name: a backend name or `auto`.
        device: a device name or `auto`.

    Returns:
        The backend's name and the backend.

    Raises:
        BackendNotFoundError: if no such backend is registered.
        BackendUnavailableError: if it, or for `auto` every one, cannot be imported.
        DeviceError: for `auto`, if backends can be used but none has the device.
    """
    if name != "auto":
        return name, get_backend(name)
    reasons: dict[str, BackendError] = {}
    for candidate in backend_names():
        try:
            backend = get_backend(candidate)
            _require_device(backend, candidate, device)
        except BackendError as exc:
            reasons[candidate] = exc
            continue
        _log_choice(candidate, reasons)
        return candidate, backend
    raise _none_usable(reasons)


def _log_choice(name: str, refused: Iterable[str]) -> None:
    import logging  # a start that names its backend does without

    skipped = f"; not usable: {', '.join(refused)}" if refused else ""
    logger = logging.getLogger(__name__)
    logger.info("backend auto: %s, the first usable in preference order%s", name, skipped)


def _require_device(backend: Backend, name: str, device: str) -> None:
    available = backend.devices()
    if device != "auto" and device not in available:
        raise unknown_device(device, name, available)


def _make(name: str) -> object:
    plugins = registered(GROUP)
    if name not in plugins:
        names = backend_names()
        listed = ", ".join(map(repr, names)) or "none"
        raise BackendNotFoundError(
            f"backend {name!r} is not registered{suggestion(name, names)}; registered: {listed}"
        )
    try:
        factory: Any = load(plugins[name])
        return factory()
    except ImportError as exc:
        raise BackendUnavailableError(f"backend {name!r} {_absence(name, exc)}") from exc
    except Exception as exc:  # foreign code: whatever it raises must not end `auto`
        raise BackendUnavailableError(
            f"backend {name!r} cannot be started: {type(exc).__name__}: {exc}"
        ) from exc


def _absence(name: str, error: ImportError) -> str:
    """Say what is missing; a backend of ours has the name of the package that it needs first."""
    if name not in EXTRAS:
        return f"cannot be imported: {error}; install what it needs"
    if error.name == name and isinstance(error, ModuleNotFoundError):
        return f"is not installed ({install_hint(name)})"
    return f"cannot be imported: {error}; install what it needs: {install_hint(name)}"


def _none_usable(reasons: dict[str, BackendError]) -> BackendError:
    if not reasons:
        return BackendUnavailableError(
            "no backend is registered, because edgevit is not installed here, only importable; "
            "in its folder: python -m pip install '.[onnxruntime]'"
        )
    listed = "; ".join(str(reason) for reason in reasons.values())
    lacks_device = [reason for reason in reasons.values() if isinstance(reason, DeviceError)]
    kind = DeviceError if lacks_device else BackendUnavailableError
    return kind(f"no backend can be used: {listed}")
