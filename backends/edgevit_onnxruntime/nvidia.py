"""What the providers `cuda` and `tensorrt` need besides: driver, libraries, engines on disk."""

import ctypes
import hashlib
import logging
import sys
from contextlib import redirect_stdout
from importlib import metadata
from io import StringIO
from pathlib import Path

import onnxruntime

from edgevit.backend import cache_dir, file_digests

KEY_LENGTH = 32
PRIVATE = 0o700  # read, write and enter: the user alone

logger = logging.getLogger(__name__)


def device_count() -> int:
    """Ask the driver: a build with the CUDA provider says nothing about the machine."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:  # no driver, so no device
        return 0
    count = ctypes.c_int(0)
    is_ready = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return count.value if is_ready else 0


def preload_libraries() -> None:
    """Load CUDA and cuDNN from where pip has put them; what ONNX Runtime prints then is logged."""
    if not hasattr(onnxruntime, "preload_dlls"):  # before 1.21
        return
    said = StringIO()
    with redirect_stdout(said):
        onnxruntime.preload_dlls()
    if said.getvalue():
        logger.info("ONNX Runtime, while loading CUDA and cuDNN: %s", said.getvalue().strip())


def engine_options(model: Path) -> dict[str, str]:
    """Provider options that let TensorRT keep engines and timings for the next start.

    ONNX Runtime finds an engine by the graph's hash and the GPU's architecture alone, so every
    model and every version of the libraries gets a folder of its own. It checks no digest, and an
    engine is code, so only the user may read or write the folder. Precision is the graph's.

    Returns:
        The options; none where the model names its weights in a way that is not understood, or
        the folder cannot be made, which is a warning.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is empty.
    """
    files = file_digests(model)
    if files is None:
        return {}
    facts = (files, onnxruntime.__version__, _tensorrt_version())
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:KEY_LENGTH]
    folder = cache_dir() / "onnxruntime" / "tensorrt" / key
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(PRIVATE)
    except OSError as exc:
        logger.warning("TensorRT's engines are not kept: %s; set EDGEVIT_CACHE to a folder", exc)
        return {}
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }


def _tensorrt_version() -> str:
    try:
        return metadata.version("tensorrt")
    except metadata.PackageNotFoundError:  # installed by the system, as on Jetson
        return "the system's"
