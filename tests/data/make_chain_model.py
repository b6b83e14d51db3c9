"""Make a classifier with something to find inside: `python tests/data/make_chain_model.py`.

`tiny_chain.onnx`: six named nodes, all of which the NumPy backend of the tests knows, with the
types of the tensors between them. Two of them come together again in `gated`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevit.core.model.spec import METADATA_KEY, InputSpec, ModelSpec, Provenance

HERE = Path(__file__).parent


def chain() -> onnx.ModelProto:
    """The picture against four patterns, of which two at a time speak for a class."""
    generator = np.random.default_rng(5)
    constants = {
        "patterns": generator.normal(size=(4, 3, 8, 8)),
        "offsets": generator.normal(size=4),
        "voices": generator.normal(size=(3, 4, 1, 1)),
        "biases": np.zeros(3),
        "scale": np.array(0.1),
    }
    nodes = [
        helper.make_node("Conv", ["image", "patterns", "offsets"], ["mixed"], pads=[0] * 4),
        helper.make_node("Relu", ["mixed"], ["rectified"]),
        helper.make_node("Mul", ["mixed", "scale"], ["scaled"]),
        helper.make_node("Mul", ["rectified", "scaled"], ["gated"]),
        helper.make_node("Conv", ["gated", "voices", "biases"], ["voted"], pads=[0] * 4),
        helper.make_node("Reshape", ["voted", "row"], ["logits"]),
    ]
    for node in nodes:
        node.name = f"node_{node.output[0]}"
    graph = helper.make_graph(
        nodes,
        "tiny_chain",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
        [
            *(
                numpy_helper.from_array(np.float32(value), name)
                for name, value in constants.items()
            ),
            numpy_helper.from_array(np.array([1, 3]), "row"),
        ],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def main() -> None:
    """Write the file."""
    model = chain()
    spec = ModelSpec(
        name="tiny_chain",
        family="tiny",
        variant="tiny",
        task="classify",
        input=InputSpec(size=(8, 8), crop_pct=1.0),
        class_names=("red", "green", "blue"),
        head={},
        provenance=Provenance(None, None, "tests/data/make_chain_model.py"),
    )
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.checker.check_model(model)
    onnx.save(model, HERE / "tiny_chain.onnx")


if __name__ == "__main__":
    main()
