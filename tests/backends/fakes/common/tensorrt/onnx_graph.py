"""As much of an ONNX file as the fake needs, read without the onnx package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgevit.core.model.protobuf import fields, varint

UNKNOWN = "NoSuch"  # how operators begin that TensorRT does not support
INT64, STRING = 7, 8


@dataclass
class Node:
    name: str
    operator: str


@dataclass
class Value:
    name: str
    element: int
    shape: tuple[int, ...]  # -1 where free


@dataclass
class Graph:
    nodes: list[Node]
    inputs: list[Value]
    outputs: list[Value]


def payloads(buffer, *path):
    """Byte strings under a path of field numbers."""
    found = [buffer]
    for wanted in path:
        found = [part[a:b] for part in found for field, a, b in fields(part) if field == wanted]
    return found


def number(buffer, field, default=0):
    for found, start, _ in fields(buffer):
        if found == field:
            return varint(buffer, start)[0]
    return default


def text(buffer, field):
    return b"".join(payloads(buffer, field)[:1]).decode()


def read(path):
    """Read a file; ValueError or IndexError where it is no ONNX file."""
    graphs = payloads(Path(path).read_bytes(), 7)
    if not graphs:
        raise ValueError("it holds no graph")
    (graph,) = graphs
    weights = payloads(graph, 5)
    names = {text(weight, 8) for weight in weights}
    inputs = [value(part) for part in payloads(graph, 11)]
    return Graph(
        nodes=[node(part) for part in payloads(graph, 1)],
        inputs=[found for found in inputs if found.name not in names],
        outputs=[value(part) for part in payloads(graph, 12)],
    )


def node(buffer):
    return Node(text(buffer, 3), text(buffer, 4))


def value(buffer):
    tensors = payloads(buffer, 2, 1)
    (tensor,) = tensors
    dims = payloads(tensor, 2, 1)
    return Value(text(buffer, 1), number(tensor, 1), tuple(number(dim, 1, -1) for dim in dims))
