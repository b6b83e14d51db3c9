"""Read what edgevit needs from an ONNX file without the `onnx` package.

An ONNX file is one protobuf message, ModelProto (onnx/onnx.proto). Fields that hold the graph and
its weights are skipped by their length, so the cost does not grow with the model.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from edgevit.core.errors import ModelError, ModelNotFoundError

_METADATA_PROPS = 14  # field of ModelProto: repeated StringStringEntryProto
_KEY, _VALUE = 1, 2  # fields of StringStringEntryProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf wire types

MULTIPLY_ADDS_KEY = "edgevit.multiply_adds"

_GRAPH = 7  # field of ModelProto
_INPUT, _OUTPUT = 11, 12  # fields of GraphProto: ValueInfoProto
_NAME, _TYPE = 1, 2  # fields of ValueInfoProto: text, TypeProto
_TENSOR_TYPE, _ELEMENT_TYPE = 1, 1  # field of TypeProto, and of the TypeProto.Tensor in it

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
    with mapped(path) as buffer:
        try:
            return dict(
                _entry(buffer[start:end])
                for field, start, end in fields(buffer)
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


def read_io_types(path: Path) -> dict[str, int]:
    """Read the element types of a graph's inputs and outputs.

    Args:
        path: the ONNX file.

    Returns:
        Numbers of TensorProto.DataType by tensor name; a tensor without one is left out.

    Raises:
        ModelNotFoundError: if there is no such file.
        ModelError: if the file is not a whole protobuf message.
    """
    types: dict[str, int] = {}
    with mapped(path) as buffer:
        try:
            for start, end in _payloads(buffer, 0, len(buffer), _GRAPH):
                for field, first, last in fields(buffer, start, end):
                    if field in (_INPUT, _OUTPUT):
                        types.update(_io_type(buffer[first:last]))
        except (ValueError, IndexError) as exc:
            raise _not_whole(path, exc) from exc
    return types


def _io_type(value_info: bytes) -> dict[str, int]:
    """Read one ValueInfoProto."""
    names = [
        value_info[start:end].decode()
        for start, end in _payloads(value_info, 0, len(value_info), _NAME)
    ]
    return {
        name: varint(value_info, start)[0]
        for name in names
        for outer in _payloads(value_info, 0, len(value_info), _TYPE)
        for inner in _payloads(value_info, *outer, _TENSOR_TYPE)
        for start, _ in _payloads(value_info, *inner, _ELEMENT_TYPE)
    }


def _payloads(buffer: Buffer, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the payloads of one field."""
    for field, first, last in fields(buffer, start, end):
        if field == wanted:
            yield first, last


def mapped(path: Path) -> mmap.mmap:
    """Map a model file into memory; a context manager.

    Raises:
        ModelNotFoundError: if there is no such file.
        ModelError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as exc:
        raise ModelNotFoundError(f"there is no model file {str(path)!r}") from exc
    except (OSError, ValueError) as exc:  # a folder, no permission; an empty file cannot be mapped
        raise ModelError(f"the model file {str(path)!r} cannot be read: {exc}") from exc


def _not_whole(path: Path, reason: Exception) -> ModelError:
    return ModelError(f"{str(path)!r} is not a whole ONNX file ({reason}); export or copy it again")


def fields(
    buffer: Buffer, position: int = 0, size: int | None = None
) -> Iterator[tuple[int, int, int]]:
    """Yield (field number, start, end) of every field's payload, of the message in a range.

    Raises:
        ValueError, IndexError: if the range is not a whole message.
    """
    size = len(buffer) if size is None else size
    while position < size:
        key, position = varint(buffer, position)
        start, end = _payload(buffer, position, key & 7)
        if end > size:
            raise ValueError(f"field {key >> 3} ends at byte {end} of {size}")
        yield key >> 3, start, end
        position = end


def _payload(buffer: Buffer, position: int, wire_type: int) -> tuple[int, int]:
    if wire_type == _VARINT:
        return position, varint(buffer, position)[1]
    if wire_type == _BYTES:
        length, start = varint(buffer, position)
        return start, start + length
    if wire_type in (_FIXED64, _FIXED32):
        return position, position + (8 if wire_type == _FIXED64 else 4)
    raise ValueError(f"wire type {wire_type} at byte {position}")


def varint(buffer: Buffer, position: int) -> tuple[int, int]:
    """Read a number of variable length, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"number too long at byte {position}")


def _entry(buffer: bytes) -> tuple[str, str]:
    parts = {field: buffer[start:end] for field, start, end in fields(buffer)}
    return parts.get(_KEY, b"").decode(), parts.get(_VALUE, b"").decode()
