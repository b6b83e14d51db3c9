import io
import warnings

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")


import golden  # noqa: E402
from torch import nn  # noqa: E402

import edgevit  # noqa: E402
from edgevit import models  # noqa: E402
from edgevit.convert.session import load_graph  # noqa: E402
from edgevit.errors import ModelError  # noqa: E402
from edgevit.export import export_model  # noqa: E402
from edgevit.export.deploy import deploy  # noqa: E402
from edgevit.export.trace import graph_from_module  # noqa: E402
from edgevit.models.lightvit import (  # noqa: E402
    MLP,
    LightViT,
    LightViTAttention,
    LightViTConfig,
    LightViTPyramid,
    ResidualMerge,
)

VARIANTS = ["lightvit_tiny", "lightvit_small", "lightvit_base"]
BACKENDS = ["onnxruntime", "openvino"]
SMALLEST = LightViTConfig(
    depths=(1, 1, 1), dims=(16, 32, 64), heads=(1, 2, 4), num_tokens=3, num_dense_tokens=5
)
TOLERANCE = 1e-9  # of outputs around 1, in float64


def with_every_parameter_at_work(module: nn.Module) -> nn.Module:
    """The module in eval mode, no scale at 1, no shift and no bias at 0."""
    generator = torch.Generator().manual_seed(0)
    for values in module.parameters():
        if values.ndim == 1:
            values.data += 0.3 * torch.randn(values.shape, generator=generator)
        else:
            nn.init.normal_(values, 0, values[0].numel() ** -0.5, generator=generator)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, 0, 0.5, generator=generator)
            nn.init.uniform_(norm.running_var, 0.5, 1.5, generator=generator)
    return module.eval().requires_grad_(False)


def images(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def operators(graph: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in graph.graph.node]


@pytest.mark.parametrize("variant", VARIANTS)
def test_deploy_form_gives_the_numbers_of_the_module(variant):
    module = with_every_parameter_at_work(models.create(variant, num_classes=10)).double()
    batch = images(1, 3, 224, 224)
    torch.testing.assert_close(deploy(module)(batch), module(batch), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("size", [(224, 448), (217, 220), (448, 442)], ids=str)
def test_every_size_that_windows_divide_gives_the_numbers_of_the_module(size):
    module = with_every_parameter_at_work(LightViT(SMALLEST, 7)).double()
    batch = images(2, 3, *size)
    torch.testing.assert_close(deploy(module)(batch), module(batch), rtol=0, atol=TOLERANCE)


def test_a_size_that_windows_do_not_divide_is_refused_as_by_the_module():
    with pytest.raises(ModelError, match="Pass 224x224, the nearest multiples"):
        deploy(LightViT(SMALLEST))(torch.zeros(1, 3, 256, 224))


@pytest.mark.parametrize("variant", VARIANTS)
def test_pyramid_gives_the_maps_of_the_module(variant):
    module = with_every_parameter_at_work(models.create_pyramid(variant)).double()
    batch = images(1, 3, 60, 125)
    torch.testing.assert_close(deploy(module)(batch), module(batch), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    "size",
    [(1, 1), (33, 64), (56, 56), (224, 224), (448, 224), (232, 168), (250, 330)],
    ids=str,
)
def test_any_pyramid_size_gives_the_maps_of_the_module(size):
    module = with_every_parameter_at_work(LightViTPyramid(SMALLEST)).double()
    batch = images(2, 3, *size)
    torch.testing.assert_close(deploy(module)(batch), module(batch), rtol=0, atol=TOLERANCE)


def test_module_stays_as_it_is_and_shares_nothing():
    module = LightViT(SMALLEST, 7)
    before = {key: value.clone() for key, value in module.state_dict().items()}

    deployed = deploy(module)

    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)
    addresses = {parameter.data_ptr() for parameter in module.parameters()}
    assert not any(parameter.data_ptr() in addresses for parameter in deployed.parameters())


@pytest.fixture(scope="module")
def classifier() -> LightViT:
    return with_every_parameter_at_work(LightViT(SMALLEST, 10))


def test_graph_of_one_image_is_lean(classifier):
    graph = graph_from_module(deploy(classifier, (224, 224)), (224, 224))

    assert not {"BatchNormalization", "Split", "Shape", "Expand", "Tile", "GatherND", "Pad"} & set(
        operators(graph)
    )
    assert len(operators(graph)) < 260  # three blocks, two merges
    batch = images(1, 3, 224, 224, dtype=torch.float32)
    assert (
        np.abs(load_graph(graph)(batch.numpy())["logits"] - classifier(batch).numpy()).max() < 1e-4
    )


@pytest.fixture(scope="module")
def file_of_any_batch(classifier):
    size = (224, 224)
    graph = graph_from_module(deploy(classifier, size), size, dynamic_batch=True)
    return graph.SerializeToString()


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_dynamic_batch_gives_each_image_the_answer_it_gets_alone(
    classifier, file_of_any_batch, backend
):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    batch = images(3, 3, 224, 224, dtype=torch.float32).numpy()

    (together,) = RUN[backend](file_of_any_batch, batch)
    alone = [RUN[backend](file_of_any_batch, image[None])[0][0] for image in batch]

    assert np.abs(together - np.stack(alone)).max() < 1e-5
    assert np.abs(together - classifier(torch.from_numpy(batch)).numpy()).max() < 1e-4


def run_onnxruntime(model: bytes, x: np.ndarray) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def run_openvino(model: bytes, x: np.ndarray) -> list[np.ndarray]:
    import openvino

    config = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(openvino.Core().read_model(model), "CPU", config)
    return list(compiled(x).values())


RUN = {"onnxruntime": run_onnxruntime, "openvino": run_openvino}


@pytest.fixture(
    scope="module",
    params=[VARIANTS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS[1:])],
)
def exported(request, tmp_path_factory):
    """A classifier exported from a checkpoint as the official repository releases it."""
    folder = tmp_path_factory.mktemp(request.param)
    weights = golden.state_dict(golden.LIGHTVIT[request.param]["state_dict"])
    torch.save({"state_dict": weights}, folder / "official.pth")
    return export_model(request.param, folder / "model.onnx", checkpoint=folder / "official.pth")


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_file_gives_the_official_logits(exported, backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    with edgevit.Predictor(exported.path, backend=backend) as predictor:
        assert golden.logits_error(predictor, "lightvit", exported.spec.variant) < 1e-4


class Alone(nn.Module):
    """A module whose map of tokens has one size, and of whose answer the tokens count."""

    def __init__(self, module: nn.Module, size: tuple[int, int] | None) -> None:
        super().__init__()
        self.module, self.arguments = module, (size,) if size else ()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = self.module(x, *self.arguments)
        return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("attention_d64_28x28", lambda: LightViTAttention(64, 2, 8)),
        ("det_attention_d64_20x30_padded", lambda: LightViTAttention(64, 2, 8)),
        ("biattn_mlp_d64", lambda: MLP(64, 256)),
        ("merge_d64_28x28", lambda: ResidualMerge(64, 128, 8)),
        ("det_merge_d64_15x21_padded", lambda: ResidualMerge(64, 128, 8)),
    ],
    ids=["attention", "padded attention", "mlp", "merge", "padded merge"],
)
def test_one_module_exported_alone_gives_the_official_numbers(name, build, backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    case = golden.LIGHTVIT[f"module_lightvit_{name}"]
    module = build().eval()
    module.load_state_dict(module.state_dict() | golden.state_dict(case["state_dict"]))
    alone = Alone(module, tuple(case["size"]) if "size" in case else None)
    x = golden.reference_input(case["input_shape"], case["input_seed"])
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is deprecated
        torch.onnx.export(alone, (torch.from_numpy(x),), file, opset_version=17, dynamo=False)

    (tokens,) = RUN[backend](file.getvalue(), x)

    # Every fourth channel was kept.
    expected = golden.arrays("lightvit")[f"module_lightvit_{name}"]
    assert np.abs(tokens[..., ::4] - expected).max() < 1e-4
