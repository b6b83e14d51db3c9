"""Who makes and who reads the float32 values of a graph."""

from collections.abc import Callable, Iterable, Set

import onnx
import onnx_ir as ir

from edgevit.convert.graph import name_of, present
from edgevit.errors import ExportError

FLOAT = ir.DataType.FLOAT

# Inputs of an operator that are float32 whatever its data are.
ALWAYS_FLOAT = {"Resize": (1, 2)}


def float_inputs(node: ir.Node) -> list[ir.Value]:
    """Float32 values that a node reads as its data, weights included."""
    return [
        value
        for place, value in enumerate(node.inputs)
        if value is not None and value.dtype == FLOAT and _is_data(node, place)
    ]


def float_outputs(node: ir.Node) -> list[ir.Value]:
    """Float32 values that a node makes."""
    return [value for value in node.outputs if value.dtype == FLOAT]


def makers_of(node: ir.Node) -> list[ir.Node]:
    """Nodes whose float32 values a node reads."""
    makers = (value.producer() for value in float_inputs(node))
    return [maker for maker in makers if maker is not None]


def readers_of(node: ir.Node) -> list[ir.Node]:
    """Nodes that read float32 values which a node makes."""
    return [
        reader
        for value in float_outputs(node)
        for reader, place in value.uses()
        if _is_data(reader, place)
    ]


def of_types(graph: ir.Graph, *kinds: str) -> set[ir.Node]:
    """The nodes of these operators."""
    return {node for node in graph if node.op_type in kinds}


def reached(
    starts: Iterable[ir.Node], step: Callable[[ir.Node], Iterable[ir.Node]], stops: Set[ir.Node]
) -> set[ir.Node]:
    """Nodes that steps from `starts` lead to, without those in `stops` and what is behind them."""
    found: set[ir.Node] = set()
    ahead = list(starts)
    while ahead:
        node = ahead.pop()
        if node not in found and node not in stops:
            found.add(node)
            ahead.extend(step(node))
    return found


def add_types(model: ir.Model, inferred: onnx.ModelProto) -> None:
    """Note the type of every value that a node makes.

    Args:
        model: a graph that has no graphs inside.
        inferred: the same with what ONNX's inference found out.

    Raises:
        ExportError: if one is not known.
    """
    known = ir.convenience.create_value_mapping(ir.from_proto(inferred).graph)
    for node in model.graph:
        for value in present(node.outputs):
            value.type = known[name_of(value)].type
            if not isinstance(value.type, ir.TensorType) or not value.dtype:
                raise ExportError(
                    f"the type of {value.name!r}, which a node {node.op_type} makes, is not known; "
                    "only graphs of standard operators can be converted to half precision"
                )


def _is_data(node: ir.Node, place: int) -> bool:
    return place not in ALWAYS_FLOAT.get(node.op_type, ())
