"""A float32 ONNX graph as quantisation sees it: constants, and products with constant weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgevit.errors import QuantizationError

Array = NDArray[np.float32]

QUANTIZED = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "MatMulInteger"}

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


class Graph:
    """An ONNX model whose constants are NumPy arrays and whose nodes are a plain list.

    Args:
        model: the model; it is taken apart, not copied.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self.nodes: list[onnx.NodeProto] = list(model.graph.node)
        self.constants: dict[str, NDArray[np.generic]] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        self.inputs = [value.name for value in model.graph.input]
        self.outputs = [value.name for value in model.graph.output]
        self._fold_casts()
        for index, node in enumerate(self.nodes):
            node.name = node.name or f"{node.op_type}_{index}"

    @classmethod
    def read(cls, path: Path) -> Graph:
        """Read a model file that holds no integers yet.

        Raises:
            QuantizationError: if it is quantised already, or is no ONNX file.
        """
        try:
            model = onnx.load(path)
        except Exception as exc:  # protobuf's exception classes share no public base
            raise QuantizationError(f"{str(path)!r} cannot be read as ONNX: {exc}") from exc
        found = QUANTIZED & {node.op_type for node in model.graph.node}
        if found:
            raise QuantizationError(
                f"{str(path)!r} is quantised already ({', '.join(sorted(found))}); "
                "give the float32 file that `edgevit export` wrote"
            )
        return cls(model)

    def products(self) -> list[Product]:
        """The convolutions that are worth computing in integers, in the order of the graph.

        What follows a choice among candidates stays as it is: how much of it there is, and of
        what, changes with rounding, so nothing could be measured on it.
        """
        chosen = self.after_choices()
        return [
            Product(node.name, node.input[0], node.output[0], node.input[1])
            for node in self.nodes
            if node.op_type == "Conv" and self._is_dense(node) and node.input[0] not in chosen
        ]

    def after_choices(self) -> set[str]:
        """The tensors that depend on which candidates were best."""
        found: set[str] = set()
        for node in self.nodes:
            if node.op_type in CHOICES or found & set(node.input):
                found |= set(node.output)
        return found

    def consumers(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor."""
        return [node for node in self.nodes if tensor in node.input]

    def constant(self, name: str) -> Array:
        """A constant as float32."""
        return self.constants[name].astype(np.float32)

    def model(
        self, *, extra_outputs: Iterable[str] = (), metadata: Mapping[str, str] | None = None
    ) -> onnx.ModelProto:
        """Put the model together again.

        Args:
            extra_outputs: tensors to answer besides the model's own outputs.
            metadata: entries to add to those of the file that was read.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self._without_graph())
        graph, source = model.graph, self._model.graph
        graph.name = source.name
        graph.input.extend(source.input)
        graph.output.extend(source.output)
        graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in extra_outputs if name not in self.outputs
        )
        graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input} | set(self.outputs)
        graph.initializer.extend(
            numpy_helper.from_array(value, name)
            for name, value in self.constants.items()
            if name in used
        )
        kept = {entry.key: entry.value for entry in self._model.metadata_props}
        helper.set_model_props(model, {**kept, **(metadata or {})})
        return model

    def copy(self) -> Graph:
        """A graph with a list of nodes and a table of constants of its own."""
        other = object.__new__(Graph)
        other._model = self._model
        other.nodes = [_copied(node) for node in self.nodes]
        other.constants = dict(self.constants)
        other.inputs, other.outputs = self.inputs, self.outputs
        return other

    def drop_unread(self) -> None:
        """Leave out nodes whose answers nobody reads."""
        read = set(self.outputs)
        kept = []
        for node in reversed(self.nodes):
            if read & set(node.output):
                kept.append(node)
                read |= set(node.input)
        self.nodes = kept[::-1]

    def _without_graph(self) -> onnx.ModelProto:
        model = self._model
        made = helper.make_model(
            onnx.GraphProto(), opset_imports=model.opset_import, ir_version=model.ir_version
        )
        made.producer_name, made.producer_version = model.producer_name, model.producer_version
        return made

    def _is_dense(self, node: onnx.NodeProto) -> bool:
        weight = self.constants.get(node.input[1])
        group = next((entry.i for entry in node.attribute if entry.name == "group"), 1)
        return weight is not None and group == 1 and min(weight.shape[:2]) >= LEAST_CHANNELS

    def _fold_casts(self) -> None:
        """Weights stored in half precision stand behind a Cast."""
        kept = []
        for node in self.nodes:
            if node.op_type == "Cast" and node.input[0] in self.constants:
                dtype = helper.tensor_dtype_to_np_dtype(node.attribute[0].i)
                self.constants[node.output[0]] = self.constants[node.input[0]].astype(dtype)
            else:
                kept.append(node)
        self.nodes = kept


def _copied(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
