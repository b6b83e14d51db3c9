"""Store a graph's weights in half precision, and take them out again."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevit.errors import ExportError

SMALLEST = 1024  # values; below, a Cast costs more than the bytes it saves


def store_in_half_precision(model: onnx.ModelProto) -> None:
    """Halve the bytes of a graph's large float32 weights, in place.

    Each becomes a float16 tensor behind a Cast to float32. Runtimes fold that Cast into the
    weight when they load the file, so a run's arithmetic and speed stay those of float32.

    Args:
        model: the graph; its inputs and outputs keep their types.

    Raises:
        ExportError: if a weight is too large for half precision.
    """
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise ExportError(
                f"weight {name!r} holds {np.abs(values).max():.3g}, too large for half precision; "
                "export without --half-weights"
            )
        stored = f"{name}.float16"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)


def widen_stored_weights(model: onnx.ModelProto) -> None:
    """Undo `store_in_half_precision` but for the rounding, in place."""
    stored = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT16
    }
    kept = []
    for node in model.graph.node:
        tensor = stored.get(node.input[0]) if node.op_type == "Cast" else None
        if tensor is None or node.attribute[0].i != onnx.TensorProto.FLOAT:
            kept.append(node)
        else:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(kept)
