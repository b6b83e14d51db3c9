"""Arrays of other libraries that are on the GPU already, taken without a copy.

PyTorch, CuPy, Numba and PyCUDA arrays say where they are, by `__cuda_array_interface__` or by
DLPack. The work that their library has queued for them on a stream of its own is waited for by our
stream, on the GPU, not by the processor.

Sources: Numba's "CUDA Array Interface (Version 3)"; dmlc/dlpack, include/dlpack/dlpack.h, 1.0.
"""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevit.backend import TensorInfo
from edgevit.errors import InputError
from edgevit_tensorrt.buffers import Stream

DLPACK_CUDA = 2  # kDLCUDA
DLPACK_KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}  # DLDataTypeCode; bool is 6


@dataclass(frozen=True, slots=True)
class DeviceArray:
    """An array on the GPU.

    Args:
        address: of its first element.
        dtype: NumPy dtype.
        shape: lengths of its axes.
        is_contiguous: whether the elements lie in C order without gaps.
        owner: keeps the memory alive.
    """

    address: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_contiguous: bool
    owner: object


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def is_on_device(feed: object) -> bool:
    """Say whether an array of another library is on a GPU."""
    if isinstance(feed, np.ndarray):
        return False
    if hasattr(feed, "__cuda_array_interface__"):
        return True
    device = getattr(feed, "__dlpack_device__", None)
    return device is not None and device()[0] == DLPACK_CUDA


def shape_of(feed: Any) -> tuple[int, ...]:
    """Shape of a NumPy array or of one on the GPU."""
    interface = getattr(feed, "__cuda_array_interface__", None)
    return tuple(feed.shape if interface is None else interface["shape"])


def device_array(feed: Any, info: TensorInfo, gpu_index: int, stream: Stream) -> DeviceArray:
    """Find out where an array is, and let `stream` wait for what its library still computes in it.

    Args:
        feed: an array for which `is_on_device` holds.
        info: the input that it is for.
        gpu_index: the GPU that will read it.
        stream: the stream that will read it; its GPU is active.

    Raises:
        InputError: if it has another dtype or shape, gaps, or is on another GPU.
    """
    interface = getattr(feed, "__cuda_array_interface__", None)
    array = (
        _from_interface(interface, feed, stream)
        if interface is not None
        else _from_dlpack(feed, gpu_index, stream)
    )
    fits = array.dtype == info.dtype and len(array.shape) == len(info.shape)
    if not fits or not all(w in (None, g) for w, g in zip(info.shape, array.shape, strict=True)):
        raise InputError(f"input {info} was fed a GPU array of {array.dtype} {array.shape}")
    if not array.is_contiguous:
        raise InputError(
            f"input {info} was fed a GPU array with gaps or another order of axes; "
            "make it contiguous first"
        )
    return array


def _from_interface(interface: Mapping[str, Any], feed: object, stream: Stream) -> DeviceArray:
    producer = interface.get("stream")
    if producer is not None:
        stream.wait_for(producer)
    dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
    strides = interface.get("strides")
    is_contiguous = strides is None or _is_contiguous(shape, strides, dtype.itemsize)
    return DeviceArray(interface["data"][0], dtype, shape, is_contiguous, feed)


def _from_dlpack(feed: Any, gpu_index: int, stream: Stream) -> DeviceArray:
    _, index = feed.__dlpack_device__()
    if index != gpu_index:
        raise InputError(f"the array is on GPU {index}, but the model on GPU {gpu_index}; move it")
    capsule = feed.__dlpack__(stream=stream.handle)  # its library lets our stream wait
    read = ctypes.pythonapi.PyCapsule_GetPointer
    read.restype, read.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    tensor = _DLTensor.from_address(read(capsule, b"dltensor"))
    kind = DLPACK_KINDS.get(tensor.code)
    if kind is None or tensor.lanes != 1:
        raise InputError(f"the array's DLPack type {tensor.code} is none of NumPy's; convert it")
    dtype = np.dtype(np.bool_ if kind == "b" else f"{kind}{tensor.bits // 8}")
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tensor.strides[: tensor.ndim] if tensor.strides else None
    is_contiguous = strides is None or _is_contiguous(shape, strides, 1)
    return DeviceArray(
        (tensor.data or 0) + tensor.byte_offset, dtype, shape, is_contiguous, (feed, capsule)
    )


def _is_contiguous(shape: tuple[int, ...], strides: Any, unit: int) -> bool:
    """Compare with C order; `strides` count `unit` bytes or elements."""
    expected = unit
    for length, stride in zip(reversed(shape), reversed(strides), strict=True):
        if length != 1 and stride != expected:
            return False
        expected *= length
    return True
