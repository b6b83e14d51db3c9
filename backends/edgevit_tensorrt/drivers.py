"""Which of the libraries that reach CUDA is installed."""

from importlib.util import find_spec

from edgevit_tensorrt.buffers import Driver


def find_driver() -> Driver:
    """Choose the installed library; nothing of CUDA is touched.

    Raises:
        ImportError: if neither library is installed.
    """
    if _is_installed("cuda.bindings"):
        from edgevit_tensorrt.buffers_cuda import CudaDriver

        return CudaDriver()
    if _is_installed("pycuda"):
        from edgevit_tensorrt.buffers_pycuda import PycudaDriver

        return PycudaDriver()
    raise ImportError("neither cuda-bindings nor PyCUDA is installed")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package's parent
        return False
