from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")


import golden  # noqa: E402
from plain.litv2 import plain  # noqa: E402
from torch import nn  # noqa: E402

from edgevit import models  # noqa: E402
from edgevit.convert.session import load_graph  # noqa: E402
from edgevit.errors import ModelError  # noqa: E402
from edgevit.export.deploy import deploy  # noqa: E402
from edgevit.export.trace import graph_from_module  # noqa: E402
from edgevit.models.litv2 import CONFIGS, LITv2, LITv2Config, LITv2Pyramid  # noqa: E402

TOLERANCE = 1e-9  # of outputs around 1, in float64
SHALLOW = LITv2Config(depths=(1, 1, 1, 1), dims=(32, 64, 128, 256), num_heads=(1, 2, 4, 8))


def filled(module: nn.Module) -> nn.Module:
    """The module in eval mode, every weight, bias and statistic drawn at random."""
    generator = torch.Generator().manual_seed(0)
    for name, values in module.state_dict(keep_vars=True).items():
        if name.endswith("running_var"):
            values.data.uniform_(0.5, 1.5, generator=generator)
        elif values.ndim > 1:
            fan_in = values[0].numel()
            values.data.normal_(0, fan_in**-0.5, generator=generator)
        elif values.is_floating_point():
            values.data.normal_(0.3, 0.5, generator=generator)
    return module.eval().requires_grad_(False)


def created(variant: str, num_classes: int) -> nn.Module:
    with torch.device("meta"):
        module = models.create(variant, num_classes)
    return filled(module.to_empty(device="cpu"))


def images(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.from_numpy(golden.reference_input(list(shape), seed=3)).to(dtype)


def largest_difference(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual - expected).abs().max())


@pytest.mark.parametrize("variant", CONFIGS)
def test_deploy_form_gives_the_numbers_of_the_module(variant):
    module = created(variant, num_classes=10).double()

    deployed = deploy(module)

    batch = images(1, 3, 32, 64)
    torch.testing.assert_close(deployed(batch), module(batch), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("windows", [(0, 0, 2, 1), (0, 0, 4, 1)], ids=["windows 2", "windows 4"])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [(29, 29), (101, 70), (160, 96)], ids=str)
def test_pyramid_gives_the_maps_of_the_module_where_windows_are_padded(windows, alpha, size):
    config = replace(SHALLOW, windows=windows, alpha=alpha)
    module = filled(LITv2Pyramid(config, has_norm0=alpha == 0.5)).double()

    deployed = deploy(module, size)

    batch = images(2, 3, *size)
    for actual, expected in zip(deployed(batch), module(batch), strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE)


def test_offsets_far_beyond_the_map_read_zeros():
    module = filled(LITv2(SHALLOW, num_classes=4)).double()
    for name, parameter in module.named_parameters():
        if "conv_offset" in name:
            parameter.mul_(40)

    batch = images(1, 3, 64, 64)

    torch.testing.assert_close(deploy(module)(batch), module(batch), rtol=0, atol=TOLERANCE)


def test_attention_without_biases_is_deployed():
    module = filled(LITv2(SHALLOW, num_classes=4))
    for block in module.layers[2].blocks:
        for name in ("l_q", "l_kv", "h_qkv"):
            getattr(block.attn, name).bias = None
    module = module.double()

    batch = images(1, 3, 64, 64)

    torch.testing.assert_close(deploy(module)(batch), module(batch), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("build", "size", "message"),
    [
        (LITv2, (48, 64), "multiples of 32, not 48x64"),
        (LITv2Pyramid, (28, 64), "29 pixels or more, not 28x64"),
    ],
    ids=["classifier", "pyramid"],
)
def test_sizes_that_the_module_refuses_are_refused(build, size, message):
    with pytest.raises(ModelError, match=message):
        deploy(filled(build(SHALLOW)))(images(1, 3, *size, dtype=torch.float32))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_plain_form_gives_the_numbers_of_the_module(alpha):
    module = filled(LITv2(replace(SHALLOW, alpha=alpha), num_classes=10)).double()

    batch = images(2, 3, 96, 96)

    torch.testing.assert_close(plain(module)(batch), module(batch), rtol=0, atol=TOLERANCE)


def test_exported_graph_is_lean():
    size = (64, 64)

    graph = graph_from_module(deploy(filled(LITv2(SHALLOW, num_classes=4)), size), size)

    operators = [node.op_type for node in graph.graph.node]
    assert not {"BatchNormalization", "Shape", "Expand", "GatherND", "Range"} & set(operators)
    assert operators.count("LayerNormalization") == 8  # patches, four MLPs, two attentions, head
    assert operators.count("Gather") == 3  # one for each merging
    assert len(operators) < 220  # four blocks, two of them with attention


def test_any_batch_gets_the_answers_that_each_image_gets_alone():
    size = (64, 96)
    module = filled(LITv2(SHALLOW, num_classes=10))
    batch = images(5, 3, *size, dtype=torch.float32).numpy()

    graph = load_graph(graph_from_module(deploy(module, size), size, dynamic_batch=True))

    def run(images):
        return graph(images)["logits"]

    alone = np.concatenate([run(image[None]) for image in batch])
    for count in range(1, 6):
        # float32 sums, in another order
        assert np.abs(run(batch[:count]) - alone[:count]).max() < 1e-5
    assert np.abs(alone - module(torch.from_numpy(batch)).numpy()).max() < 1e-4  # float32
