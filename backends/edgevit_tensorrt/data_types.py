"""TensorRT's data types and NumPy's."""

from typing import Any

import tensorrt as trt

# Some are missing from some versions: INT64 came with 10.
NAMES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
}

ONNX_INT64 = 7  # TensorProto.DataType, onnx/onnx.proto


def numpy_dtype(data_type: Any) -> str | None:
    """Name the NumPy dtype of a `tensorrt.DataType`; None where NumPy has none."""
    for name, dtype in NAMES.items():
        if hasattr(trt.DataType, name) and getattr(trt.DataType, name) == data_type:
            return dtype
    return None
