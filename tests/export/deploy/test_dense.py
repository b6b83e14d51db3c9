"""Necks and heads in deploy form give the numbers of the modules."""

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn  # noqa: E402

from edgevit.export.deploy import deploy  # noqa: E402
from edgevit.export.deploy.semantic_fpn import ComposedLevel  # noqa: E402
from edgevit.export.deploy.winograd import WinogradConv  # noqa: E402
from edgevit.models import create_pyramid, retinanet, semantic_fpn  # noqa: E402
from edgevit.models.cas_vit import CASViTConfig, CASViTPyramid  # noqa: E402

SMALLEST = CASViTConfig(depths=(1, 0, 0, 1), dims=(4, 4, 8, 8))


def filled(model):
    """The model in float64 and eval mode, with biases and normalizations that do something."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(values, 0.3, 0.5, generator=generator)
            nn.init.uniform_(module.running_var, 0.5, 1.5, generator=generator)
    for name, parameter in model.named_parameters():
        if name.startswith(("neck", "decode_head", "bbox_head")) and name.endswith("bias"):
            nn.init.normal_(parameter, 0.3, 0.5, generator=generator)
    return model.eval().double().requires_grad_(False)


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (75, 101)], ids=str)
@pytest.mark.parametrize(("channels", "composed"), [(4, 0), (32, 3)])
def test_semantic_fpn_gives_the_numbers_of_the_module(channels, composed, size):
    torch.manual_seed(0)
    model = filled(semantic_fpn(CASViTPyramid(SMALLEST), 5, channels=channels, head_channels=8))
    deployed = deploy(model, size)
    kinds = [type(module) for module in deployed.modules()]
    assert kinds.count(ComposedLevel) == composed
    assert nn.BatchNorm2d not in kinds[kinds.index(type(deployed.neck)) :]
    x = images(2, 3, *size)
    torch.testing.assert_close(deployed(x), model(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["lightvit_tiny", "litv2_s"])
def test_semantic_fpn_of_the_other_families_gives_the_numbers_of_the_module(name):
    torch.manual_seed(0)
    model = filled(semantic_fpn(create_pyramid(name), 5, channels=256, head_channels=64))
    deployed = deploy(model, (64, 96))
    assert any(isinstance(module, ComposedLevel) for module in deployed.modules())
    x = images(1, 3, 64, 96)
    torch.testing.assert_close(deployed(x), model(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(8, 8), (9, 14), (3, 5)], ids=str)
@pytest.mark.parametrize("has_bias", [True, False], ids=["bias", "no bias"])
def test_a_convolution_as_products_gives_the_numbers_of_the_module(size, has_bias):
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 7, kernel_size=3, padding=1, bias=has_bias).double()
    x = images(2, 5, *size)
    y = WinogradConv(conv)(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(y, conv(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("channels", "size"), [(192, (256, 288)), (8, (75, 101))], ids=str)
def test_retinanet_gives_the_numbers_of_the_module(channels, size):
    torch.manual_seed(0)
    model = filled(retinanet(CASViTPyramid(SMALLEST), 3, channels=channels, stacked=1))
    x = images(1, 3, *size)
    torch.testing.assert_close(deploy(model, size)(x), model(x), rtol=0, atol=1e-12)
