"""Read what edgevit needs from an ONNX file without the `onnx` package.

An ONNX file is one protobuf message, ModelProto (onnx/onnx.proto). Fields that hold the graph and
its weights are skipped by their length, so the cost does not grow with the model.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from pathlib import Path

from edgevit.core.errors import ModelError, ModelNotFoundError

_METADATA_PROPS = 14  # field of ModelProto: repeated StringStringEntryProto
_KEY, _VALUE = 1, 2  # fields of StringStringEntryProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf wire types

MULTIPLY_ADDS_KEY = "edgevit.multiply_adds"
QUANTIZATION_KEY = "edgevit.quantization"

_GRAPH = 7  # field of ModelProto
_INITIALIZER = 5  # field of GraphProto: repeated TensorProto
_DIMS, _DATA_TYPE = 1, 2  # fields of TensorProto

# TensorProto.DataType of weights -> its usual short name; shapes, indices and texts have others.
PRECISIONS = {
    **{1: "fp32", 10: "fp16", 11: "fp64", 16: "bf16", 2: "int8", 3: "int8"},
    **{17: "fp8", 18: "fp8", 19: "fp8", 20: "fp8", 21: "int4", 22: "int4", 23: "fp4"},
}

Buffer = bytes | mmap.mmap


def read_metadata(path: Path) -> dict[str, str]:
    """Read `metadata_props` of an ONNX file.

    Args:
        path: the file.

    Returns:
        Values by key; empty where the model carries none.

    Raises:
        ModelNotFoundError: if there is no such file.
        ModelError: if the file is not a whole protobuf message.
    """
    with _mapped(path) as buffer:
        try:
            return dict(
                _entry(buffer[start:end])
                for field, start, end in _fields(buffer)
                if field == _METADATA_PROPS
            )
        except (ValueError, IndexError) as exc:
            raise _not_whole(path, exc) from exc


def read_multiply_adds(path: Path) -> int | None:
    """Read how much arithmetic an exported model is.

    Args:
        path: the ONNX file.

    Returns:
        Multiply-adds of its convolutions and matrix products for one image, as the exporter counted
        them; None where the file does not say.

    Raises:
        ModelNotFoundError: if there is no such file.
        ModelError: if the file is not a whole protobuf message, or says something else.
    """
    text = read_metadata(path).get(MULTIPLY_ADDS_KEY)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ModelError(
            f"{str(path)!r} says {MULTIPLY_ADDS_KEY} = {text!r}, which is no count; export it again"
        )
    return int(text)


def read_precision(path: Path) -> str | None:
    """Read in what precision a model's weights are stored.

    Args:
        path: the ONNX file.

    Returns:
        `fp32`, `fp16`, `int8` or another of `PRECISIONS`, of signed and unsigned alike: what most
        of the weights are; None where the file holds no weights.

    Raises:
        ModelNotFoundError: if there is no such file.
        ModelError: if the file is not a whole protobuf message.
    """
    elements: dict[str, int] = {}
    with _mapped(path) as buffer:
        try:
            for kind, count in _weights(buffer):
                elements[kind] = elements.get(kind, 0) + count
        except (ValueError, IndexError) as exc:
            raise _not_whole(path, exc) from exc
    return max(elements, key=elements.__getitem__, default=None)


def _weights(buffer: Buffer) -> Iterator[tuple[str, int]]:
    """Yield precision and number of elements of each weight of the graph."""
    for field, start, end in _fields(buffer):
        if field == _GRAPH:
            for inner, begin, stop in _fields(buffer, start, end):
                if inner == _INITIALIZER:
                    data_type, count = _tensor(buffer, begin, stop)
                    if data_type in PRECISIONS:
                        yield PRECISIONS[data_type], count


def _tensor(buffer: Buffer, begin: int, stop: int) -> tuple[int, int]:
    """Read a TensorProto's data type and number of elements; dims may be packed or not."""
    data_type, count = 0, 1
    for field, start, end in _fields(buffer, begin, stop):
        if field == _DATA_TYPE:
            data_type = _varint(buffer, start)[0]
        elif field == _DIMS:
            while start < end:
                length, start = _varint(buffer, start)
                count *= length
    return data_type, count


def read_output_tolerance(path: Path) -> float | None:
    """Read how far from its test vector a device may answer.

    Args:
        path: the ONNX file.

    Returns:
        The difference relative to the largest output, above 0; None where the file does not say,
        as those in float32.

    Raises:
        ModelNotFoundError: if there is no such file.
        ModelError: if the file is not a whole protobuf message, or says something else.
    """
    text = read_metadata(path).get(QUANTIZATION_KEY)
    if text is None:
        return None
    try:
        tolerance = float(json.loads(text)["output_tolerance"])
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise ModelError(
            f"{str(path)!r} has an unreadable {QUANTIZATION_KEY} ({exc!r}); quantise it again"
        ) from exc
    if not 0 < tolerance < 1:
        raise ModelError(f"{str(path)!r} allows outputs to differ by {tolerance}, not 0 to 1")
    return tolerance


def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as exc:
        raise ModelNotFoundError(f"there is no model file {str(path)!r}") from exc
    except (OSError, ValueError) as exc:  # a folder, no permission; an empty file cannot be mapped
        raise ModelError(f"the model file {str(path)!r} cannot be read: {exc}") from exc


def _not_whole(path: Path, reason: Exception) -> ModelError:
    return ModelError(f"{str(path)!r} is not a whole ONNX file ({reason}); export or copy it again")


def _fields(
    buffer: Buffer, position: int = 0, size: int | None = None
) -> Iterator[tuple[int, int, int]]:
    """Yield (field number, start, end) of every field's payload, of the message in a range."""
    size = len(buffer) if size is None else size
    while position < size:
        key, position = _varint(buffer, position)
        start, end = _payload(buffer, position, key & 7)
        if end > size:
            raise ValueError(f"field {key >> 3} ends at byte {end} of {size}")
        yield key >> 3, start, end
        position = end


def _payload(buffer: Buffer, position: int, wire_type: int) -> tuple[int, int]:
    if wire_type == _VARINT:
        return position, _varint(buffer, position)[1]
    if wire_type == _BYTES:
        length, start = _varint(buffer, position)
        return start, start + length
    if wire_type in (_FIXED64, _FIXED32):
        return position, position + (8 if wire_type == _FIXED64 else 4)
    raise ValueError(f"wire type {wire_type} at byte {position}")


def _varint(buffer: Buffer, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"number too long at byte {position}")


def _entry(buffer: bytes) -> tuple[str, str]:
    parts = {field: buffer[start:end] for field, start, end in _fields(buffer)}
    return parts.get(_KEY, b"").decode(), parts.get(_VALUE, b"").decode()
