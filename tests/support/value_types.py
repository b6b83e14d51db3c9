"""The element type of every value of a graph, as ONNX's own inference finds it."""

import onnx


def value_types(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    return weights | {value.name: value.type.tensor_type.elem_type for value in values}
