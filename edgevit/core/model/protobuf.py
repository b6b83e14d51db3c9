"""The wire format of protobuf, of which an ONNX file is one message (onnx/onnx.proto).

Written by hand because the device has no `onnx` package. Fields that nobody asks for are skipped by
their length, so the cost of reading does not grow with the weights.
"""

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgevit.errors import ModelError, ModelNotFoundError

GRAPH = 7  # field of ModelProto
INPUT, OUTPUT = 11, 12  # fields of GraphProto: ValueInfoProto
VALUE_NAME, VALUE_TYPE = 1, 2  # fields of ValueInfoProto: text, TypeProto

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types

Buffer = bytes | mmap.mmap


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


def not_whole(path: Path, reason: Exception) -> ModelError:
    """Make the error for a file that ends, or goes wrong, inside a message."""
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


def payloads(buffer: Buffer, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of the payloads of one field."""
    for field, first, last in fields(buffer, start, end):
        if field == wanted:
            yield first, last


def parts(message: bytes) -> dict[int, list[bytes]]:
    """Split a message into its fields' payloads, by field number, in the message's order.

    Raises:
        ValueError, IndexError: if it is not a whole message.
    """
    found: dict[int, list[bytes]] = {}
    for field, start, end in fields(message):
        found.setdefault(field, []).append(message[start:end])
    return found


def text(parts: Mapping[int, list[bytes]], field: int) -> str:
    """Read a text from what `parts` found; the last one counts, an absent one is empty."""
    return parts.get(field, [b""])[-1].decode()


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


def encoded_field(number: int, content: bytes) -> bytes:
    """Encode a text or a message as one field."""
    return _encoded_number(number << 3 | _BYTES) + _encoded_number(len(content)) + content


def _encoded_number(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*groups, value))


def _payload(buffer: Buffer, position: int, wire_type: int) -> tuple[int, int]:
    if wire_type == _VARINT:
        return position, varint(buffer, position)[1]
    if wire_type == _BYTES:
        length, start = varint(buffer, position)
        return start, start + length
    if wire_type in (_FIXED64, _FIXED32):
        return position, position + (8 if wire_type == _FIXED64 else 4)
    raise ValueError(f"wire type {wire_type} at byte {position}")
