"""Make the tiny detectors and segmenters of the tests: `python tests/data/make_dense_models.py`.

All look at the mean color of square cells of the picture.
`tiny_anchors.onnx`: a box around each of the 8 cells of 8x8 pixels that are the most red, green or
blue, as deltas of anchors.
`tiny_boxes.onnx`: a box around each red cell, with a mask of its left half.
`tiny_logits.onnx`: the colors of cells of 4x4 pixels. `tiny_classes.onnx`: the strongest of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgevit.core.image.preprocessor import Preprocessor
from edgevit.core.model.heads import AnchorGrid, AnchorHead, BoxHead, Coder, MapHead, Selection
from edgevit.core.model.spec import METADATA_KEY, InputSpec, ModelSpec, Provenance
from edgevit.core.model.test_vector import Samples, TestVector

HERE = Path(__file__).parent
CELLS = 4  # along each side
SELECTION = Selection(score_threshold=0.5, max_detections=5)
HEADS = {
    "tiny_anchors": AnchorHead(AnchorGrid((8,), (1.0,), (2.0,)), Coder(), 8, SELECTION),
    "tiny_boxes": BoxHead(SELECTION, mask_threshold=0.5),
    "tiny_logits": MapHead("logits", 4),
    "tiny_classes": MapHead("classes", 4),
}


def graph_of(
    name: str,
    size: int,
    nodes: list[onnx.NodeProto],
    outputs: dict[str, tuple[int, list[int]]],
    **constants: np.ndarray,
) -> onnx.ModelProto:
    """Cells' mean colors, `colors` (1, 3, 4, 4), and what `nodes` make of them."""
    cell = size // CELLS
    pool = helper.make_node(
        "AveragePool", ["image"], ["colors"], kernel_shape=[cell, cell], strides=[cell, cell]
    )
    graph = helper.make_graph(
        [pool, *nodes],
        name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info(name, *info) for name, info in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9)


def anchors() -> onnx.ModelProto:
    """The best 8 of 16 anchors x 3 classes; deltas move each 16x16 anchor onto its cell."""
    nodes = [
        helper.make_node("Transpose", ["colors"], ["by_cell"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["by_cell"], ["flat"]),
        helper.make_node("TopK", ["flat", "count"], ["scores", "indices"]),
        helper.make_node("Identity", ["moves"], ["deltas"]),
    ]
    outputs = {
        "scores": (TensorProto.FLOAT, [1, 8]),
        "indices": (TensorProto.INT64, [1, 8]),
        "deltas": (TensorProto.FLOAT, [1, 8, 4]),
    }
    moves = np.tile(np.array([0.25, 0.25, np.log(0.5), np.log(0.5)], np.float32), (1, 8, 1))
    return graph_of("tiny_anchors", 32, nodes, outputs, count=np.array([8]), moves=moves)


def boxes() -> onnx.ModelProto:
    """Each cell with its redness."""
    y, x = np.mgrid[:CELLS, :CELLS].reshape(2, -1)
    cells = 8 * np.stack([x, y, x + 1, y + 1], axis=1)[None].astype(np.float32)
    masks = np.zeros((1, CELLS**2, 8, 8), np.float32)
    masks[..., :4] = 1
    nodes = [
        helper.make_node("Gather", ["colors", "red"], ["redness"], axis=1),
        helper.make_node("Flatten", ["redness"], ["scores"]),
        helper.make_node("Identity", ["cells"], ["boxes"]),
        helper.make_node("Identity", ["zeros"], ["class_ids"]),
        helper.make_node("Identity", ["halves"], ["masks"]),
    ]
    outputs = {
        "boxes": (TensorProto.FLOAT, [1, 16, 4]),
        "scores": (TensorProto.FLOAT, [1, 16]),
        "class_ids": (TensorProto.INT64, [1, 16]),
        "masks": (TensorProto.FLOAT, [1, 16, 8, 8]),
    }
    zeros = np.zeros((1, CELLS**2), np.int64)
    constants = {"red": np.array([0]), "cells": cells, "zeros": zeros, "halves": masks}
    return graph_of("tiny_boxes", 32, nodes, outputs, **constants)


def logits() -> onnx.ModelProto:
    """The colors."""
    nodes = [helper.make_node("Identity", ["colors"], ["logits"])]
    return graph_of("tiny_logits", 16, nodes, {"logits": (TensorProto.FLOAT, [1, 3, 4, 4])})


def classes() -> onnx.ModelProto:
    """The strongest colors."""
    nodes = [helper.make_node("ArgMax", ["colors"], ["classes"], axis=1, keepdims=0)]
    return graph_of("tiny_classes", 16, nodes, {"classes": (TensorProto.INT64, [1, 4, 4])})


def spec_for(name: str, model: onnx.ModelProto) -> ModelSpec:
    """The model's spec, with a test vector from ONNX Runtime."""
    head = HEADS[name]
    size = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    spec = ModelSpec(
        name=name,
        family="tiny",
        variant="tiny",
        task="segment" if isinstance(head, MapHead) else "detect",
        input=InputSpec((size, size), (0, 0, 0), (1, 1, 1), resize="letterbox", crop_pct=1.0),
        class_names=("red", "green", "blue"),
        head=head.to_dict(),
        provenance=Provenance(None, None, "tests/data/make_dense_models.py"),
    )
    image = np.random.default_rng(3).integers(0, 256, (11, 13, 3), np.uint8)
    batch = np.empty((1, 3, size, size), np.float32)
    Preprocessor(spec.input)(image, batch[0])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    outputs = session.run(names, {"image": batch})
    samples = {name: Samples.of(value) for name, value in zip(names, outputs, strict=True)}
    return spec.with_test_vector(TestVector(image, Samples.of(batch), samples))


def main() -> None:
    """Write the files."""
    for make in (anchors, boxes, logits, classes):
        model = make()
        name = model.graph.name
        helper.set_model_props(model, {METADATA_KEY: spec_for(name, model).to_json()})
        onnx.checker.check_model(model)
        onnx.save(model, HERE / f"{name}.onnx")


if __name__ == "__main__":
    main()
