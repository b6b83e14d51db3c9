"""Is there a GPU, and a TensorRT that can be used? Asked in the order that harms nothing.

Some versions of TensorRT crash where no GPU answers, so CUDA is asked before TensorRT is imported.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from edgevit.errors import BackendError, DeviceError

if TYPE_CHECKING:
    from edgevit_tensorrt.buffers import Driver

# What came with TensorRT 8.5 and is used throughout: tensors by name.
NEEDED = {
    "Builder": ("build_serialized_network",),
    "IBuilderConfig": ("set_memory_pool_limit",),
    "ICudaEngine": ("num_io_tensors", "get_tensor_name", "get_tensor_profile_shape"),
    "IExecutionContext": ("set_input_shape", "set_tensor_address", "execute_async_v3"),
}


def start() -> Driver:
    """Start CUDA and import TensorRT.

    Raises:
        ImportError: if TensorRT, or a library that reaches CUDA, is not installed.
        DeviceError: if there is no NVIDIA driver or no GPU.
        BackendError: if this TensorRT is too old, or damaged.
    """
    if "tensorrt" not in sys.modules and find_spec("tensorrt") is None:
        raise ModuleNotFoundError("the package tensorrt is not installed", name="tensorrt")
    from edgevit_tensorrt.buffers import NoDriverError  # most machines stop above
    from edgevit_tensorrt.drivers import find_driver

    driver = find_driver()
    try:
        driver.start()
    except NoDriverError as exc:
        raise DeviceError(
            f"the NVIDIA driver does not answer ({exc}); install it, or pass another backend"
        ) from exc
    if driver.count() == 0:
        raise DeviceError(
            "the NVIDIA driver finds no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES, "
            "or pass another backend"
        )
    _import_tensorrt()
    return driver


def _import_tensorrt() -> None:
    try:
        tensorrt: Any = import_module("tensorrt")
    except (ImportError, OSError) as exc:  # its libraries; the package itself was found
        raise BackendError(
            f"TensorRT is installed but cannot be imported: {exc}; "
            "its bindings and libraries must be of one version"
        ) from exc
    for owner, names in NEEDED.items():
        for name in names:
            if not hasattr(getattr(tensorrt, owner, None), name):
                version = getattr(tensorrt, "__version__", "of an unknown version")
                raise BackendError(
                    f"TensorRT {version} is too old: it lacks {owner}.{name}; install 8.6 or newer"
                )
