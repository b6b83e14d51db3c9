"""Store a graph's weights in half precision, and take them out again."""

import numpy as np
import onnx_ir as ir

from edgevit.convert.graph import add_constant, array_of, constant_of, input_of, make_cast, name_of
from edgevit.errors import ExportError

SMALLEST = 1024  # values; below, a Cast costs more than the bytes it saves


def store_in_half_precision(model: ir.Model) -> None:
    """Halve the bytes of a graph's large float32 weights, in place.

    Each becomes a float16 tensor behind a Cast to float32. Runtimes fold that Cast into the
    weight when they load the file, so a run's arithmetic and speed stay those of float32.

    Args:
        model: the graph; its inputs and outputs keep their types.

    Raises:
        ExportError: if a weight is too large for half precision.
    """
    graph, casts = model.graph, []
    weights = list(graph.initializers.values())
    graph.initializers.clear()
    for weight in weights:
        values, name = array_of(weight), name_of(weight)
        if weight.dtype != ir.DataType.FLOAT or values.size < SMALLEST:
            graph.initializers.add(weight)
            continue
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise ExportError(
                f"weight {name!r} holds {np.abs(values).max():.3g}, too large for half precision; "
                "export without --half-weights"
            )
        stored = add_constant(graph, f"{name}.float16", values.astype(np.float16))
        casts.append(make_cast(stored, ir.DataType.FLOAT, name))
        weight.replace_all_uses_with(casts[-1].outputs[0], replace_graph_outputs=True)
    if casts:
        graph.insert_before(graph[0], casts)


def widen_stored_weights(model: ir.Model) -> None:
    """Undo `store_in_half_precision` but for the rounding, in place.

    Whatever else a Cast makes of a weight is computed, too.
    """
    graph = model.graph
    for node in list(graph):
        if node.op_type != "Cast" or constant_of(node.inputs[0]) is None:
            continue
        stored, made = input_of(node), node.outputs[0]
        dtype = ir.DataType(node.attributes["to"].as_int()).numpy()
        weight = add_constant(graph, name_of(made), array_of(stored).astype(dtype))
        made.replace_all_uses_with(weight, replace_graph_outputs=True)
        graph.remove(node, safe=True)
        if not stored.uses():
            del graph.initializers[name_of(stored)]
