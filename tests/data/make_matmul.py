"""Make the matrix product that `edgevit bench` measures the machine with.

python tests/data/make_matmul.py
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevit.benchmark import MATMUL, MATMUL_SIDE

OPSET, IR_VERSION = 17, 8  # what ONNX Runtime 1.12 and every later runtime read


def main() -> None:
    """Write the file.

    One factor is an input, the other a constant as the weights of a layer are, which runtimes lay
    out before the first run: of two inputs OpenVINO multiplies only three quarters as fast. The
    constant is filled by the graph, so the file stays small.
    """
    shape = [MATMUL_SIDE, MATMUL_SIDE]
    value = numpy_helper.from_array(np.array([1 / MATMUL_SIDE], np.float32))
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["weights"], value=value),
        helper.make_node("MatMul", ["rows", "weights"], ["product"]),
    ]
    graph = helper.make_graph(
        nodes,
        "matmul",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array(shape), "shape")],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, MATMUL)


if __name__ == "__main__":
    main()
