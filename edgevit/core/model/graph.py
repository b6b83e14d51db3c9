"""The nodes of an ONNX graph, and copies of the file that answer tensors inside it too.

Field numbers are those of onnx/onnx.proto.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgevit.core.model.protobuf import (
    GRAPH,
    INPUT,
    OUTPUT,
    VALUE_NAME,
    encoded_field,
    fields,
    mapped,
    not_whole,
    parts,
    text,
    varint,
)
from edgevit.errors import ModelError

NODE, CONSTANT, TYPED = 1, 5, 13  # of GraphProto
NODE_INPUT, NODE_OUTPUT, NODE_NAME, OPERATOR, ATTRIBUTE = 1, 2, 3, 4, 5  # of NodeProto
SUBGRAPHS = (6, 11)  # of AttributeProto: a graph, graphs
TENSOR_TYPE, TENSOR_NAME, EXTERNAL = 2, 8, 13  # of TensorProto


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
        raise not_whole(path, exc) from exc


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
        found = parts(graph)
        if any(EXTERNAL in parts(tensor) for tensor in found.get(CONSTANT, [])):
            raise ModelError(f"{str(path)!r} keeps weights in other files; save it as one file")
        # Typed where the file knows the type; runtimes infer the others.
        typed = {text(parts(value), VALUE_NAME): value for value in found.get(TYPED, [])}
    except (ValueError, LookupError) as exc:
        raise not_whole(path, exc) from exc
    added = [typed.get(name) or encoded_field(VALUE_NAME, name.encode()) for name in names]
    grown = graph + b"".join(encoded_field(OUTPUT, value) for value in added)
    target.write_bytes(others + encoded_field(GRAPH, grown))


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
    found = parts(content)
    constants = [parts(tensor) for tensor in found.get(CONSTANT, [])]
    return Graph(
        tuple(map(_node, found.get(NODE, []))),
        tuple(text(parts(value), VALUE_NAME) for value in found.get(INPUT, [])),
        tuple(text(parts(value), VALUE_NAME) for value in found.get(OUTPUT, [])),
        {text(tensor, TENSOR_NAME): varint(tensor[TENSOR_TYPE][-1], 0)[0] for tensor in constants},
    )


def _node(message: bytes) -> Node:
    found = parts(message)
    inputs = [name.decode() for name in found.get(NODE_INPUT, [])]
    inputs += _captured(found)
    return Node(
        text(found, NODE_NAME),
        text(found, OPERATOR),
        tuple(dict.fromkeys(filter(None, inputs))),
        tuple(name.decode() for name in found.get(NODE_OUTPUT, []) if name),
    )


def _captured(node: Mapping[int, list[bytes]]) -> Iterator[str]:
    """What the nodes of graphs inside a node read from outside of these."""
    for attribute in node.get(ATTRIBUTE, []):
        found = parts(attribute)
        for content in (graph for field in SUBGRAPHS for graph in found.get(field, [])):
            inner = _graph(content)
            own = {*inner.inputs, *inner.constants}
            own.update(name for node in inner.nodes for name in node.outputs)
            read = (*inner.outputs, *(name for node in inner.nodes for name in node.inputs))
            yield from (name for name in read if name not in own)
