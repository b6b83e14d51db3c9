"""The nodes of an ONNX graph, and copies of the file that answer tensors inside it too.

Written by hand like `edgevit.core.onnx_file`: field numbers are those of onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgevit.core.errors import ModelError
from edgevit.core.onnx_file import fields, mapped, varint

GRAPH = 7  # of ModelProto
NODE, CONSTANT, INPUT, OUTPUT, TYPED = 1, 5, 11, 12, 13  # of GraphProto
NODE_INPUT, NODE_OUTPUT, NODE_NAME, OPERATOR, ATTRIBUTE = 1, 2, 3, 4, 5  # of NodeProto
SUBGRAPHS = (6, 11)  # of AttributeProto: a graph, graphs
TENSOR_TYPE, TENSOR_NAME, EXTERNAL = 2, 8, 13  # of TensorProto
VALUE_NAME = 1  # of ValueInfoProto
BYTES_TYPE = 2  # protobuf's wire type of texts and messages


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of a graph.

    Args:
        name: as the file has it; empty where it has none.
        operator: such as `Conv`.
        inputs: names of the tensors it reads, those that graphs inside it read included; an
            optional one that is left out is not in.
        outputs: names of the tensors it makes.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """The structure of an ONNX file.

    Args:
        nodes: in the file's order, in which every tensor is made before it is read.
        inputs: names of the graph's inputs.
        outputs: names of the graph's outputs.
        constants: ONNX's number of the data type of each constant, by name.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, int]


def read_graph(path: Path) -> Graph:
    """Read the structure of an ONNX file, without its weights.

    Raises:
        ModelNotFoundError: if there is no such file.
        ModelError: if the file is not a whole ONNX file.
    """
    try:
        return _graph(_graph_bytes(path)[0])
    except (ValueError, LookupError) as exc:
        raise _not_whole(path, exc) from exc


def write_with_outputs(path: Path, names: Iterable[str], target: Path) -> None:
    """Copy an ONNX file, and let its graph answer some more of its tensors.

    Args:
        path: the file.
        names: tensors that nodes of the graph make; they become its last outputs, in this order.
        target: where to write the copy.

    Raises:
        ModelError: if the file is not a whole ONNX file, or keeps constants in other files, which
            the copy would not find.
    """
    try:
        graph, others = _graph_bytes(path)
        parts = _parts(graph)
        if any(EXTERNAL in _parts(tensor) for tensor in parts.get(CONSTANT, [])):
            raise ModelError(f"{str(path)!r} keeps weights in other files; save it as one file")
        # Typed where the file knows the type; runtimes infer the others.
        typed = {_text(_parts(value), VALUE_NAME): value for value in parts.get(TYPED, [])}
    except (ValueError, LookupError) as exc:
        raise _not_whole(path, exc) from exc
    added = [typed.get(name) or _field(VALUE_NAME, name.encode()) for name in names]
    grown = graph + b"".join(_field(OUTPUT, value) for value in added)
    target.write_bytes(others + _field(GRAPH, grown))


def _graph_bytes(path: Path) -> tuple[bytes, bytes]:
    """The graph, and all other fields as the file has them."""
    graphs, others, after = [], [], 0
    with mapped(path) as buffer:
        for field, start, end in fields(buffer):
            if field == GRAPH:
                graphs.append(buffer[start:end])
            else:
                others.append(buffer[after:end])
            after = end
    return b"".join(graphs), b"".join(others)  # messages that are joined are merged


def _graph(content: bytes) -> Graph:
    parts = _parts(content)
    constants = [_parts(tensor) for tensor in parts.get(CONSTANT, [])]
    return Graph(
        tuple(map(_node, parts.get(NODE, []))),
        tuple(_text(_parts(value), VALUE_NAME) for value in parts.get(INPUT, [])),
        tuple(_text(_parts(value), VALUE_NAME) for value in parts.get(OUTPUT, [])),
        {_text(tensor, TENSOR_NAME): _data_type(tensor) for tensor in constants},
    )


def _node(message: bytes) -> Node:
    parts = _parts(message)
    inputs = [name.decode() for name in parts.get(NODE_INPUT, [])]
    inputs += _captured(parts)
    return Node(
        _text(parts, NODE_NAME),
        _text(parts, OPERATOR),
        tuple(dict.fromkeys(filter(None, inputs))),
        tuple(name.decode() for name in parts.get(NODE_OUTPUT, []) if name),
    )


def _captured(node: Mapping[int, list[bytes]]) -> Iterator[str]:
    """What the nodes of graphs inside a node read from outside of these."""
    for attribute in node.get(ATTRIBUTE, []):
        parts = _parts(attribute)
        for content in (graph for field in SUBGRAPHS for graph in parts.get(field, [])):
            inner = _graph(content)
            own = {*inner.inputs, *inner.constants}
            own.update(name for node in inner.nodes for name in node.outputs)
            read = (*inner.outputs, *(name for node in inner.nodes for name in node.inputs))
            yield from (name for name in read if name not in own)


def _data_type(tensor: Mapping[int, list[bytes]]) -> int:
    return varint(tensor[TENSOR_TYPE][-1], 0)[0]


def _parts(message: bytes) -> dict[int, list[bytes]]:
    parts: dict[int, list[bytes]] = {}
    for field, start, end in fields(message):
        parts.setdefault(field, []).append(message[start:end])
    return parts


def _text(parts: Mapping[int, list[bytes]], field: int) -> str:
    return parts.get(field, [b""])[-1].decode()


def _field(number: int, content: bytes) -> bytes:
    return _number(number << 3 | BYTES_TYPE) + _number(len(content)) + content


def _number(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*groups, value))


def _not_whole(path: Path, exc: Exception) -> ModelError:
    return ModelError(f"{str(path)!r} is not a whole ONNX file ({exc!r}); export or copy it again")
