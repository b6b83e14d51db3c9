"""Make the models of the conformance kit; run it again when `edgevit.testing.models` changes.

python tests/data/make_conformance_models.py
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevit.testing.models import (
    BIAS,
    CONVOLUTION,
    FOURS,
    HALF,
    IDENTITY,
    INTEGERS,
    KERNELS,
    MERGED,
    MODELS_FOLDER,
    PAIR,
    TOTAL,
    UNSUPPORTED,
    Model,
)

OPSET, IR_VERSION = 17, 8  # what ONNX Runtime 1.12 and every later runtime read

NODES = {
    CONVOLUTION.file: [
        helper.make_node("Conv", ["image", "kernels", "bias"], ["mixed"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["mixed"], ["features"]),
    ],
    PAIR.file: [
        helper.make_node("Sub", ["b", "a"], ["difference"]),
        helper.make_node("Add", ["b", "a"], ["sum"]),
    ],
    INTEGERS.file: [
        helper.make_node("Cast", ["pixels"], ["wide"], to=TensorProto.INT64),
        helper.make_node("Mul", ["wide", "factors"], ["products"]),
        helper.make_node("Cast", ["products"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "half"], ["halves"]),
        helper.make_node("Greater", ["products", "hundred"], ["is_large"]),
    ],
    TOTAL.file: [helper.make_node("ReduceSum", ["values"], ["total"], keepdims=0)],
    IDENTITY.file: [helper.make_node("Identity", ["given"], ["same"])],
    MERGED.file: [
        helper.make_node("Relu", ["given"], ["anonymous"]),
        helper.make_node("Identity", ["anonymous"], ["first"]),
        helper.make_node("Identity", ["anonymous"], ["second"]),
    ],
    HALF.file: [helper.make_node("Mul", ["x", "half16"], ["y"])],
    FOURS.file: [helper.make_node("Reshape", ["values", "rows"], ["fours"])],
}

CONSTANTS = [
    numpy_helper.from_array(KERNELS, "kernels"),
    numpy_helper.from_array(BIAS, "bias"),
    numpy_helper.from_array(np.array(0.5, np.float32), "half"),
    numpy_helper.from_array(np.array(0.5, np.float16), "half16"),
    numpy_helper.from_array(np.array(100), "hundred"),
    numpy_helper.from_array(np.array([-1, 4]), "rows"),
]


def value_info(info):
    kind = helper.np_dtype_to_tensor_dtype(info.dtype)
    shape = [f"free_{axis}" if n is None else n for axis, n in enumerate(info.shape)]
    return helper.make_tensor_value_info(info.name, kind, shape)


def make_model(model: Model, nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        model.file.removesuffix(".onnx"),
        [value_info(info) for info in model.inputs],
        [value_info(info) for info in model.outputs],
        [constant for constant in CONSTANTS if constant.name in used],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def main() -> None:
    MODELS_FOLDER.mkdir(parents=True, exist_ok=True)
    for model in (CONVOLUTION, PAIR, INTEGERS, TOTAL, IDENTITY, MERGED, HALF, FOURS):
        made = make_model(model, NODES[model.file])
        onnx.checker.check_model(made, full_check=True)
        onnx.save(made, model.path)
    unknown = helper.make_node("NoSuchOperator", ["given"], ["same"])
    onnx.save(make_model(IDENTITY, [unknown]), UNSUPPORTED)


if __name__ == "__main__":
    main()
