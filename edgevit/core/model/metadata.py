"""What an ONNX file says about itself beside its graph, read without the `onnx` package."""

from pathlib import Path

from edgevit.core.model import protobuf
from edgevit.errors import ModelError

_METADATA_PROPS = 14  # field of ModelProto: repeated StringStringEntryProto
_KEY, _VALUE = 1, 2  # fields of StringStringEntryProto
MULTIPLY_ADDS_KEY = "edgevit.multiply_adds"
_TENSOR_TYPE, _ELEMENT_TYPE = 1, 1  # field of TypeProto, and of the TypeProto.Tensor in it


def read_metadata(path: Path) -> dict[str, str]:
    """Read `metadata_props` of an ONNX file.

    Returns:
        Values by key; empty where the model carries none.

    Raises:
        ModelNotFoundError: if there is no such file.
        ModelError: if the file is not a whole protobuf message.
    """
    with protobuf.mapped(path) as buffer:
        try:
            return dict(
                _entry(buffer[start:end])
                for field, start, end in protobuf.fields(buffer)
                if field == _METADATA_PROPS
            )
        except (ValueError, IndexError) as exc:
            raise protobuf.not_whole(path, exc) from exc


def read_multiply_adds(path: Path) -> int | None:
    """Read how much arithmetic an exported model is.

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

    Returns:
        Numbers of TensorProto.DataType by tensor name; a tensor without one is left out.

    Raises:
        ModelNotFoundError: if there is no such file.
        ModelError: if the file is not a whole protobuf message.
    """
    types: dict[str, int] = {}
    with protobuf.mapped(path) as buffer:
        try:
            for start, end in protobuf.payloads(buffer, 0, len(buffer), protobuf.GRAPH):
                for field, first, last in protobuf.fields(buffer, start, end):
                    if field in (protobuf.INPUT, protobuf.OUTPUT):
                        types.update(_io_type(buffer[first:last]))
        except (ValueError, IndexError) as exc:
            raise protobuf.not_whole(path, exc) from exc
    return types


def _io_type(value_info: bytes) -> dict[str, int]:
    """ONNX's number of the element type in a ValueInfoProto, by name; empty if it is no tensor."""
    names = [
        value_info[start:end].decode()
        for start, end in protobuf.payloads(value_info, 0, len(value_info), protobuf.VALUE_NAME)
    ]
    return {
        name: protobuf.varint(value_info, start)[0]
        for name in names
        for outer in protobuf.payloads(value_info, 0, len(value_info), protobuf.VALUE_TYPE)
        for inner in protobuf.payloads(value_info, *outer, _TENSOR_TYPE)
        for start, _ in protobuf.payloads(value_info, *inner, _ELEMENT_TYPE)
    }


def _entry(buffer: bytes) -> tuple[str, str]:
    parts = {field: buffer[start:end] for field, start, end in protobuf.fields(buffer)}
    return parts.get(_KEY, b"").decode(), parts.get(_VALUE, b"").decode()
