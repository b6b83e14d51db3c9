"""A float32 graph as quantization sees it: products with constant weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from edgevit.convert.graph import (
    constant_of,
    input_of,
    name_of,
    present,
    quantizing_operators,
    to_proto,
)
from edgevit.convert.half_weights import widen_stored_weights
from edgevit.convert.session import Feeds, runner
from edgevit.errors import QuantizationError

Array = NDArray[np.float32]

# Narrower convolutions, and those with one weight for each channel, gain less by integers than it
# costs to get there: measured with both runtimes on AVX2.
LEAST_CHANNELS = 16


CHOICES = {"TopK", "NonMaxSuppression", "NonZero"}


@dataclass(frozen=True, slots=True)
class Product:
    """A convolution, dense along channels, whose weights are constant.

    Args:
        name: of the node.
        input: tensor of activations.
        output: tensor that it answers.
        weight: initializer, (out, in, height, width).
    """

    name: str
    input: str
    output: str
    weight: str


def read_float_model(path: Path) -> ir.Model:
    """Read a model file that holds no integers yet; its weights are float32, its nodes have names.

    Raises:
        QuantizationError: if it is quantized already, or is no ONNX file.
    """
    try:
        model = ir.from_proto(onnx.load(path))
    except Exception as exc:  # protobuf's exception classes share no public base
        raise QuantizationError(f"{str(path)!r} cannot be read as ONNX: {exc}") from exc
    if found := quantizing_operators(model):
        raise QuantizationError(
            f"{str(path)!r} is quantized already ({', '.join(found)}); "
            "give the float32 file that `edgevit export` wrote"
        )
    widen_stored_weights(model)
    for index, node in enumerate(model.graph):
        node.name = node.name or f"{node.op_type}_{index}"
    return model


def products_of(model: ir.Model) -> list[Product]:
    """The convolutions that are worth computing in integers, in the order of the graph.

    What follows a choice among candidates stays as it is: how much of it there is, and of what,
    changes with rounding, so nothing could be measured on it.
    """
    chosen = after_choices(model)
    return [
        Product(str(node.name), *map(name_of, (input_of(node), node.outputs[0], input_of(node, 1))))
        for node in model.graph
        if node.op_type == "Conv" and _is_dense(node) and node.inputs[0] not in chosen
    ]


def after_choices(model: ir.Model) -> set[ir.Value]:
    """The values that depend on which candidates were best."""
    found: set[ir.Value] = set()
    for node in model.graph:
        if node.op_type in CHOICES or not found.isdisjoint(present(node.inputs)):
            found.update(node.outputs)
    return found


def values_of(model: ir.Model, names: Sequence[str], feeds: Feeds) -> dict[str, Array]:
    """Run a model once and answer some of its values, by name."""
    return runner(to_proto(model, extra_outputs=names), names)(feeds)


def _is_dense(node: ir.Node) -> bool:
    weight, *bias = (constant_of(value) for value in present(node.inputs)[1:])
    is_whole = node.attributes.get_int("group", 1) == 1 and all(b is not None for b in bias)
    return weight is not None and is_whole and min(weight.shape[:2]) >= LEAST_CHANNELS
