"""In what precision a model computes, read off its graph."""

from pathlib import Path

from edgevit.core.model.graph import read_graph

HALF = 10  # ONNX's number of float16
QUANTIZING = frozenset(
    (
        *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
        *("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"),
    )
)

# From fine to coarse. `fp16-weights`: stored in half precision, computed in float32.
PRECISIONS = ("fp32", "fp16-weights", "fp16", "int8")


def precision_of(path: Path) -> str:
    """Find out an ONNX file's precision from its graph.

    Returns:
        One of `PRECISIONS`: `int8` with quantized values, `fp16` where operators compute with
        half-precision constants, `fp16-weights` where these are only stored so, else `fp32`.

    Raises:
        ModelNotFoundError: if there is no such file.
        ModelError: if the file is not a whole ONNX file.
    """
    graph = read_graph(path)
    if any(node.operator in QUANTIZING for node in graph.nodes):
        return "int8"
    halves = {name for name, kind in graph.constants.items() if kind == HALF}
    operators = {node.operator for node in graph.nodes if not halves.isdisjoint(node.inputs)}
    if operators - {"Cast"}:
        return "fp16"
    return "fp16-weights" if halves else "fp32"
