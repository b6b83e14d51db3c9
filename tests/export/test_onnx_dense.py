"""What leaves the exporter for detectors and segmenters: the module's numbers on every runtime."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

import golden  # noqa: E402

import edgevit  # noqa: E402
from edgevit.export import export_model  # noqa: E402
from edgevit.models import create_pyramid, retinanet, semantic_fpn  # noqa: E402

OPTIONS = {"onnxruntime": {}, "openvino": {"cache": False}}
BACKENDS = [name for name in OPTIONS if find_spec(name)]
SLOW = pytest.mark.slow
ARRAYS = golden.arrays("dense")


def trained(model):
    """The model in eval mode with statistics that do something and clear winners."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.1, generator=generator)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5, generator=generator)
    for name, parameter in model.named_parameters():
        if name.endswith(("retina_cls.weight", "retina_reg.weight", "conv_seg.weight")):
            torch.nn.init.normal_(parameter, 0, 0.3, generator=generator)
    return model.eval()


SMALL = {
    "cas_vit_xs_retinanet": lambda: retinanet(
        create_pyramid("cas_vit_xs"), 6, channels=16, stacked=2
    ),
    "cas_vit_xs_semantic_fpn": lambda: semantic_fpn(
        create_pyramid("cas_vit_xs"), 5, channels=16, head_channels=8
    ),
}


@pytest.fixture(scope="module", params=SMALL)
def small(request, tmp_path_factory):
    """A small edge model, and what the exporter made of its weights alone."""
    folder = tmp_path_factory.mktemp("small")
    torch.manual_seed(0)
    model = trained(SMALL[request.param]())
    torch.save({"model": model.state_dict()}, folder / "small.pth")
    report = export_model(
        request.param, folder / "small.onnx", checkpoint=folder / "small.pth", input_size=(64, 96)
    )
    return model, report


def test_widths_and_classes_are_read_from_the_checkpoint(small):
    model, report = small
    assert len(report.spec.class_names) == {"detect": 6, "segment": 5}[report.spec.task]
    assert report.size_bytes < 1.1 * sum(4 * value.numel() for value in model.parameters())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_device_can_prove_what_it_computes(small, backend):
    _, report = small
    vector = report.spec.test_vector
    with edgevit.Predictor(report.path, backend=backend, options=OPTIONS[backend]) as predictor:
        batch, _ = predictor.preprocess(vector.image)
        outputs = predictor.infer(batch)
    assert vector.outputs
    assert all(samples.error(outputs[name]) < 1e-4 for name, samples in vector.outputs.items())
