"""A small classifier with convolutions, linear layers and a GELU, made for the tests."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgevit.core.image.preprocessor import Preprocessor
from edgevit.core.model.spec import METADATA_KEY, InputSpec, ModelSpec
from edgevit.core.model.test_vector import Samples, TestVector

SIDE = 32
CLASSES = ("red", "green", "blue")


def write_small_model(path: Path, *, weights: dict[str, np.ndarray] | None = None) -> Path:
    """Write it with a spec and a test vector; `weights` replaces some of its random ones."""
    generator = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray:
        scale = np.sqrt(2 / np.prod(shape[1:]))
        return (scale * generator.standard_normal(shape)).astype(np.float32)

    constants = {
        "stem.weight": drawn(16, 3, 3, 3),
        "mix.weight": drawn(16, 16, 1, 1),
        "mix.bias": drawn(16, 1)[:, 0],
        "norm.weight": np.ones(16, np.float32),
        "fc1.weight": drawn(64, 16).T.copy(),
        "fc1.bias": drawn(64, 1)[:, 0],
        "fc2.weight": drawn(16, 64),
        "fc2.bias": drawn(16, 1)[:, 0],
        "head.weight": drawn(3, 16),
        "tokens.shape": np.array([-1, 16], np.int64),
        "axes": np.array([0], np.int64),
        **(weights or {}),
    }
    nodes = [
        helper.make_node("Conv", ["image", "stem.weight"], ["stem"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["stem"], ["relu"]),
        helper.make_node("Conv", ["relu", "mix.weight", "mix.bias"], ["mix"]),
        helper.make_node("Transpose", ["mix"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["last", "tokens.shape"], ["tokens"]),
        helper.make_node("LayerNormalization", ["tokens", "norm.weight"], ["norm"], axis=-1),
        helper.make_node("MatMul", ["norm", "fc1.weight"], ["product"]),
        helper.make_node("Add", ["product", "fc1.bias"], ["fc1"]),
        helper.make_node("Gelu", ["fc1"], ["gelu"]),
        helper.make_node("Gemm", ["gelu", "fc2.weight", "fc2.bias"], ["fc2"], transB=1),
        helper.make_node("ReduceMean", ["fc2", "axes"], ["mean"], keepdims=1),
        helper.make_node("Gemm", ["mean", "head.weight"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(CLASSES)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: _spec(model).to_json()})
    onnx.save(model, path)
    return path


def _spec(model: onnx.ModelProto) -> ModelSpec:
    taken = InputSpec(size=(SIDE, SIDE), resize="stretch", crop_pct=1.0)
    image = np.random.default_rng(1).integers(0, 256, (24, 40, 3), np.uint8)
    batch = np.empty((1, 3, SIDE, SIDE), np.float32)
    Preprocessor(taken, mode="exact")(image, batch[0])
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    answers = {"logits": Samples.of(session.run(None, {"image": batch})[0])}
    vector = TestVector(image, Samples.of(batch), answers)
    return ModelSpec("small", "none", "small", "classify", taken, CLASSES, {}, test_vector=vector)
