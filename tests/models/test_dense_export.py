import logging
import warnings

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.utils import _pytree as pytree  # noqa: E402

from edgevit.models import mask_rcnn, retinanet, semantic_fpn  # noqa: E402
from edgevit.models.cas_vit import CASViTConfig, CASViTPyramid  # noqa: E402
from edgevit.models.mask_rcnn import MaskRCNNConfig  # noqa: E402

SMALLEST = CASViTConfig(depths=(0, 0, 0, 1), dims=(4, 4, 4, 4))
FEW = MaskRCNNConfig(candidates=4, proposals=2, max_detections=2, score_threshold=0.0)
SMALL = {
    "retinanet": lambda backbone: retinanet(backbone, 3, channels=8, stacked=1),
    "semantic_fpn": lambda backbone: semantic_fpn(backbone, 3, channels=8, head_channels=8),
    "mask_rcnn": lambda backbone: mask_rcnn(
        backbone, 3, channels=8, box_channels=8, stacked=1, config=FEW
    ),
}


def graph_of(model, batch):
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of absent torchvision
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own deprecations inside its exporter
        program = torch.onnx.export(model, (batch,), dynamo=True, opset_version=20, verbose=False)
    return program.model_proto


@pytest.mark.parametrize(
    "name", ["retinanet", "semantic_fpn", pytest.param("mask_rcnn", marks=pytest.mark.slow)]
)
@torch.no_grad()
def test_dense_models_export_as_they_stand(name):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    torch.manual_seed(0)
    model, batch = SMALL[name](CASViTPyramid(SMALLEST)).eval(), torch.randn(1, 3, 75, 101)
    graph = graph_of(model, batch)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    outputs = session.run(None, {graph.graph.input[0].name: batch.numpy()})
    for output, expected in zip(outputs, pytree.tree_leaves(model(batch)), strict=True):
        assert output.shape == expected.shape
        assert np.abs(output - expected.numpy()).max() < 1e-4
    assert {operator.domain for operator in graph.opset_import} == {""}  # standard operators only
