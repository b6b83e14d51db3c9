"""Make the tiny models that the tests load: `python tests/data/make_models.py`.

`tiny.onnx`: a linear classifier of 8x8 pictures into red, green and blue, with its spec and count.
`tiny_dynamic.onnx`: the same with an open batch axis, without the count.
`bare.onnx`: the same without metadata. `bare_224.onnx`: that, of 224x224 pictures.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgevit.core.image.preprocessor import Preprocessor
from edgevit.core.model.metadata import MULTIPLY_ADDS_KEY
from edgevit.core.model.spec import METADATA_KEY, InputSpec, ModelSpec, Provenance
from edgevit.core.model.test_vector import Samples, TestVector

HERE = Path(__file__).parent
SIZE = (8, 8)


def linear_classifier(batch: int | str, size: tuple[int, int] = SIZE) -> onnx.ModelProto:
    """Mean color times 4: the strongest channel wins."""
    weight = numpy_helper.from_array(4 * np.eye(3, dtype=np.float32), "weight")
    bias = numpy_helper.from_array(np.array([0.1, 0.0, -0.1], np.float32), "bias")
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "weight", "bias"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, *size])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3])
    graph = helper.make_graph(nodes, "tiny", [image], [logits], [weight, bias])
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9)


def spec_for(model: onnx.ModelProto) -> ModelSpec:
    """The model's spec, with a test vector from ONNX Runtime."""
    spec = ModelSpec(
        name="tiny",
        family="tiny",
        variant="tiny",
        task="classify",
        input=InputSpec(size=SIZE, crop_pct=1.0),
        class_names=("red", "green", "blue"),
        head={},
        provenance=Provenance(None, None, "tests/data/make_models.py"),
    )
    image = np.random.default_rng(3).integers(0, 256, (11, 13, 3), np.uint8)
    batch = np.empty((1, 3, *SIZE), np.float32)
    Preprocessor(spec.input)(image, batch[0])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (logits,) = session.run(None, {"image": batch})
    vector = TestVector(image, Samples.of(batch), {"logits": Samples.of(logits)})
    return spec.with_test_vector(vector)


def main() -> None:
    """Write the files."""
    bare = linear_classifier(1)
    onnx.save(bare, HERE / "bare.onnx")
    onnx.save(linear_classifier(1, (224, 224)), HERE / "bare_224.onnx")
    spec = spec_for(bare)
    metadata = {METADATA_KEY: spec.to_json(), "note": "made by a test"}
    counted = {**metadata, MULTIPLY_ADDS_KEY: "9"}  # of the Gemm
    for name, batch, entries in (("tiny", 1, counted), ("tiny_dynamic", "batch", metadata)):
        model = linear_classifier(batch)
        helper.set_model_props(model, entries)
        onnx.save(model, HERE / f"{name}.onnx")


if __name__ == "__main__":
    main()
