"""The graph that conversions rewrite: a model of `onnx_ir`, whose values know who reads them.

Models come and go as `onnx.ModelProto`; between reading and writing, there is no other form.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from edgevit.core.cache.files import write_atomically
from edgevit.core.model.precision import QUANTIZING
from edgevit.errors import EdgeVitError, ExportError


def to_proto(model: ir.Model, *, extra_outputs: Sequence[str] = ()) -> onnx.ModelProto:
    """Put a model together, without notes on the types and shapes of its inner values.

    Args:
        model: the model; it stays as it is.
        extra_outputs: names of values to answer besides the model's own outputs.
    """
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]
    onnx.helper.set_model_props(proto, model.metadata_props)  # in the order of the file
    own = {output.name for output in proto.graph.output}
    proto.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in extra_outputs if name not in own
    )
    return proto


def save_model(path: Path, content: bytes, error: type[EdgeVitError] = ExportError) -> None:
    """Write a serialized model, whole or not at all.

    Raises:
        EdgeVitError: of the type `error`, if it cannot be written.
    """
    try:
        write_atomically(path, content)
    except OSError as exc:
        raise error(f"the output {str(path)!r} cannot be written: {exc}") from exc


def quantizing_operators(model: ir.Model) -> list[str]:
    """The operators of a graph that make or read integers for floats; none in a float file."""
    return sorted(QUANTIZING.intersection(node.op_type for node in model.graph))


def present(values: Sequence[ir.Value | None]) -> list[ir.Value]:
    """Of a node's inputs or outputs those that are there; optional ones may not be."""
    return [value for value in values if value is not None and value.name]


def input_of(node: ir.Node, place: int = 0) -> ir.Value:
    """An input that an operator cannot be without."""
    value = node.inputs[place]
    assert value is not None
    return value


def name_of(value: ir.Value) -> str:
    """The name that each value of a whole graph has."""
    assert value.name is not None
    return value.name


def constant_of(value: ir.Value | None) -> NDArray[Any] | None:
    """The array of a weight; None for what is no weight."""
    return None if value is None or value.const_value is None else value.const_value.numpy()


def array_of(weight: ir.Value) -> NDArray[Any]:
    """The array of what is known to be a weight."""
    assert weight.const_value is not None
    return weight.const_value.numpy()


def add_constant(graph: ir.Graph, name: str, values: NDArray[Any]) -> ir.Value:
    """The weight of this name, which is added if it is not there."""
    if name not in graph.initializers:
        graph.initializers.add(ir.val(name, const_value=ir.Tensor(values, name=name)))
    return graph.initializers[name]


def make_node(kind: str, inputs: Sequence[ir.Value], output: str, **attributes: Any) -> ir.Node:
    """A node with one output, by whose name and the operator it is named itself."""
    name = f"{output}.{kind}"
    return ir.node(kind, inputs, attributes, outputs=[ir.val(output)], name=name)


def make_cast(value: ir.Value, dtype: ir.DataType, output: str) -> ir.Node:
    """A node without a name that makes a value of another type."""
    made = ir.val(output, dtype, value.shape)
    return ir.node("Cast", [value], {"to": int(dtype)}, outputs=[made], name="")


def replace_readers(old: ir.Value, new: ir.Value, *, but: Sequence[ir.Node] = ()) -> None:
    """Let all nodes that read a value read another, but for some."""
    for node, place in old.uses():
        if node not in but:
            node.replace_input_with(place, new)
