import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import golden  # noqa: E402

from edgevit.errors import ModelError  # noqa: E402
from edgevit.models import create, create_pyramid, variant_names  # noqa: E402
from edgevit.models.cas_vit import AdditiveBlock  # noqa: E402

VARIANTS = ["cas_vit_xs", "cas_vit_s", "cas_vit_m", "cas_vit_t"]
PYRAMIDS = ["cas_vit_xs_det_backbone", "cas_vit_m_det_backbone"]


def filled(module, rows):
    module.load_state_dict(golden.state_dict(rows))
    return module.eval().double()


def keys_and_shapes(module):
    return [[key, list(value.shape)] for key, value in module.state_dict().items()]


def parameters(module):
    return sum(value.numel() for value in module.parameters())


@torch.no_grad()
def logits_of(name):
    case = golden.CAS_VIT[name]
    rows = golden.CAS_VIT[case["variant"]]["state_dict"]
    batch = golden.reference_input(case["input_shape"], case["input_seed"])
    return filled(create(case["variant"]), rows)(torch.from_numpy(batch).double()).numpy()


@pytest.mark.parametrize("name", VARIANTS)
def test_the_state_dict_is_the_official_one(name):
    model = create(name)
    assert keys_and_shapes(model) == golden.CAS_VIT[name]["state_dict"]
    assert parameters(model) == golden.CAS_VIT[name]["parameters"]


@pytest.mark.parametrize("name", ["cas_vit_xs", "cas_vit_s", "cas_vit_m", "cas_vit_xs_192x250"])
def test_logits_in_float64_are_the_official_ones(name):
    assert np.abs(logits_of(name) - golden.arrays()[name]).max() < 1e-9


@pytest.mark.parametrize("name", ["cas_vit_t", "cas_vit_s_384"])
def test_logits_in_float64_have_the_official_mean_and_spread(name):
    logits, case = logits_of(name), golden.CAS_VIT[name]
    assert logits.mean() == pytest.approx(case["mean"], abs=1e-9)
    assert logits.std() == pytest.approx(case["std"], abs=1e-9)


@pytest.mark.parametrize("name", PYRAMIDS)
def test_the_pyramid_has_the_official_state_dict(name):
    case = golden.CAS_VIT[name]
    model = create_pyramid(case["variant"])
    assert keys_and_shapes(model) == case["state_dict"]
    assert parameters(model) == case["parameters"]


@pytest.mark.parametrize("name", PYRAMIDS)
@pytest.mark.parametrize("size", ["in256x320", "in250x330"])
@torch.no_grad()
def test_the_pyramid_gives_the_official_features(name, size):
    case = golden.CAS_VIT[name]
    model = filled(create_pyramid(case["variant"]), case["state_dict"])
    batch = golden.reference_input(*case["inputs"][size].values())
    for level, feature in enumerate(model(torch.from_numpy(batch).double())):
        _, channels, height, width = feature.shape
        steps = [max(1, channels // 16), max(1, height // 8), max(1, width // 8)]
        kept = feature.numpy()[:, :: steps[0], :: steps[1], :: steps[2]]
        # The official features were kept in float32, whose own rounding error is up to 6e-5.
        assert np.abs(kept - golden.arrays()[f"{name}/{size}.out{level}"]).max() < 1e-4


@torch.no_grad()
def test_one_block_gives_the_official_numbers():
    name = "module_cas_additive_block_d64_14x14"
    case = golden.CAS_VIT[name]
    block = filled(AdditiveBlock(64), case["state_dict"])
    batch = golden.reference_input(case["input_shape"], case["input_seed"])
    assert (
        np.abs(block(torch.from_numpy(batch).double()).numpy() - golden.arrays()[name]).max() < 2e-6
    )


@pytest.mark.parametrize("size", [(1, 1), (33, 64), (64, 31)], ids=str)
@torch.no_grad()
def test_any_size_is_taken(size):
    features = create_pyramid("cas_vit_xs").eval()(torch.randn(1, 3, *size))
    for level, feature in enumerate(features):
        stride = 4 * 2**level
        assert feature.shape[2:] == tuple(-(-side // stride) for side in size)


def test_stochastic_depth_drops_whole_branches_in_training_only():
    block = AdditiveBlock(8, drop_path=1.0 - 1e-9)
    x = torch.randn(2, 8, 4, 4)
    local = x + block.local_perception(x)
    assert torch.allclose(block.train()(x), local, atol=1e-5)
    assert not torch.allclose(block.eval()(x), local, atol=1e-2)


def test_another_number_of_classes_changes_the_heads_only():
    assert create("cas_vit_xs", num_classes=7)(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_an_unknown_variant_is_suggested():
    with pytest.raises(ModelError, match="did you mean 'cas_vit_s'"):
        create("cas_vits")


def test_every_variant_is_listed():
    assert set(VARIANTS) <= set(variant_names())
