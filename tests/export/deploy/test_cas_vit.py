import copy

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn  # noqa: E402

from edgevit import models  # noqa: E402
from edgevit.convert.session import load_graph  # noqa: E402
from edgevit.export.deploy import deploy  # noqa: E402
from edgevit.export.deploy.cas_vit import JointMixer, SeparateMixer  # noqa: E402
from edgevit.export.deploy.fold import (  # noqa: E402
    fold_batchnorm_into_heads,
    fold_batchnorm_into_next,
    fold_batchnorm_into_previous,
)
from edgevit.export.trace import graph_from_module  # noqa: E402
from edgevit.models import cas_vit  # noqa: E402

TOLERANCE = 1e-9  # of outputs around 1, in float64
EVERY_FORM = [pytest.param((32, 32), id="joint"), pytest.param((2048, 2048), id="separate")]


def with_statistics(module: nn.Module) -> nn.Module:
    """The module in eval mode with normalizations that do something, scales of 0 and below too."""
    generator = torch.Generator().manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for values in (norm.weight, norm.bias, norm.running_mean):
                nn.init.normal_(values, 0.3, 0.5, generator=generator)
            nn.init.uniform_(norm.running_var, 0.5, 1.5, generator=generator)
            nn.init.zeros_(norm.weight[:1])
    return module.eval().requires_grad_(False)


def images(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def kinds(module: nn.Module) -> set[type[nn.Module]]:
    return {type(child) for child in module.modules()}


@pytest.mark.parametrize("input_size", EVERY_FORM)
@pytest.mark.parametrize("variant", cas_vit.CONFIGS)
def test_deploy_form_gives_the_numbers_of_the_module(variant, input_size):
    module = with_statistics(models.create(variant, num_classes=10)).double()

    expected, actual = (
        module(images(2, 3, 64, 64)),
        deploy(module, input_size)(images(2, 3, 64, 64)),
    )

    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("input_size", EVERY_FORM)
@pytest.mark.parametrize("size", [(1, 1), (33, 70), (96, 125)], ids=str)
def test_any_image_size_gives_the_numbers_of_the_module(size, input_size):
    module = with_statistics(models.create("cas_vit_xs", num_classes=3)).double()

    expected, actual = module(images(1, 3, *size)), deploy(module, input_size)(images(1, 3, *size))

    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("input_size", EVERY_FORM)
def test_pyramid_gives_the_maps_of_the_module(input_size):
    module = with_statistics(models.create_pyramid("cas_vit_xs")).double()

    expected, actual = (
        module(images(1, 3, 96, 70)),
        deploy(module, input_size)(images(1, 3, 96, 70)),
    )

    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE)


def test_modules_around_a_backbone_are_kept():
    around = nn.Sequential(
        with_statistics(models.create("cas_vit_xs", num_classes=4)), nn.Softmax(1)
    )

    deployed = deploy(around.double())

    torch.testing.assert_close(deployed(images(1, 3, 32, 32)), around(images(1, 3, 32, 32)))
    assert nn.BatchNorm2d not in kinds(deployed)


def test_module_stays_as_it_is():
    module = models.create("cas_vit_xs", num_classes=10)
    before = copy.deepcopy(module.state_dict())

    deploy(module)

    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert kinds(module) == kinds(models.create("cas_vit_xs"))
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)


def test_deploy_form_is_for_inference_and_shares_nothing():
    module = models.create("cas_vit_xs", num_classes=10)

    deployed = deploy(module)

    assert not deployed.training
    assert not any(parameter.requires_grad for parameter in deployed.parameters())
    addresses = {parameter.data_ptr() for parameter in module.parameters()}
    assert not any(parameter.data_ptr() in addresses for parameter in deployed.parameters())


def test_random_numbers_are_left_alone():
    module = models.create("cas_vit_xs", num_classes=10)
    state = torch.get_rng_state()

    deploy(module)

    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("input_size", "expected"),
    [
        ((64, 64), {JointMixer}),
        ((224, 224), {JointMixer, SeparateMixer}),
        ((800, 1333), {SeparateMixer}),
    ],
    ids=["small", "medium", "large"],
)
def test_input_size_chooses_the_mixers(input_size, expected):
    deployed = deploy(models.create("cas_vit_s"), input_size)

    assert kinds(deployed) & {JointMixer, SeparateMixer} == expected


def test_batchnorm_folds_into_the_convolution_before_it():
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False)
    layers = with_statistics(nn.Sequential(conv, nn.BatchNorm2d(6))).double()

    folded = fold_batchnorm_into_previous(*layers)

    torch.testing.assert_close(folded(images(2, 4, 9, 9)), layers(images(2, 4, 9, 9)))


@pytest.mark.parametrize("bias", [True, False])
def test_batchnorm_folds_into_the_convolution_after_it(bias):
    layers = with_statistics(
        nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1, bias=bias))
    ).double()

    folded = fold_batchnorm_into_next(*layers)

    torch.testing.assert_close(folded(images(2, 4, 5, 5)), layers(images(2, 4, 5, 5)))


def test_batchnorm_folds_into_the_mean_of_two_heads():
    norm = with_statistics(nn.BatchNorm2d(4)).double()
    first, second = nn.Linear(4, 3).double(), nn.Linear(4, 3).double()
    features = images(2, 4, 1, 1)

    merged = fold_batchnorm_into_heads(norm, first, second)

    normalized = norm(features).flatten(1)
    expected = (first(normalized) + second(normalized)) / 2
    torch.testing.assert_close(merged(features.flatten(1)), expected)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(0)
    return with_statistics(models.create("cas_vit_xs", num_classes=10))


@pytest.mark.parametrize(
    ("size", "dynamic_batch"),
    [((224, 224), False), ((96, 70), True)],
    ids=["batch 1", "any batch and odd size"],
)
def test_exported_graph_is_lean_and_gives_the_numbers_of_the_module(module, size, dynamic_batch):
    batch = images(3 if dynamic_batch else 1, 3, *size, dtype=torch.float32)

    graph = graph_from_module(deploy(module, size), size, dynamic_batch=dynamic_batch)

    operators = [node.op_type for node in graph.graph.node]
    assert not {"BatchNormalization", "Split", "Slice", "Concat", "Shape", "Expand"} & set(
        operators
    )
    assert len(operators) < 400  # ten blocks
    logits = load_graph(graph)(batch.numpy())["logits"]
    assert np.abs(logits - module(batch).numpy()).max() < 1e-4  # float32
