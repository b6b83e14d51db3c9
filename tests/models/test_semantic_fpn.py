from functools import cache

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import golden  # noqa: E402
from torch.nn import functional  # noqa: E402

from edgevit.models import create, create_pyramid, semantic_fpn, variant_names  # noqa: E402

GOLDEN = ["cas_vit_xs_semantic_fpn", "litv2_s_semantic_fpn"]
RUNS = [(name, size) for name in GOLDEN for size in golden.DENSE[name]["inputs"]]
ARRAYS = golden.arrays("dense")

# Millions of parameters, from the README of github.com/ziplab/LITv2.
PUBLISHED = {"litv2_s_semantic_fpn": 31, "litv2_m_semantic_fpn": 52, "litv2_b_semantic_fpn": 90}


model_of = cache(golden.dense_model)


@cache
def outputs_of(name, size):
    """Input, neck maps and logits."""
    case = golden.DENSE[name]["inputs"][size]
    batch = golden.reference_input(case["input_shape"], case["input_seed"])
    batch, model = torch.from_numpy(batch).double(), model_of(name)
    with torch.no_grad():
        return batch, model.neck(model.backbone(batch)), model(batch)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_state_dict_is_the_official_one(name):
    model = create(name)
    rows = [[key, list(value.shape)] for key, value in model.state_dict().items()]
    assert rows == golden.dense_rows(name)
    assert sum(value.numel() for value in model.parameters()) == golden.DENSE[name]["parameters"]


@pytest.mark.parametrize(("name", "size"), RUNS)
def test_the_neck_gives_the_official_maps(name, size):
    _, maps, _ = outputs_of(name, size)
    assert [list(x.shape) for x in maps] == golden.DENSE[name]["inputs"][size]["levels"]
    for level, x in enumerate(maps):
        # The official float32 run differs from its float64 run by up to 3.3e-5 in the logits.
        assert np.abs(golden.kept(x, 16) - ARRAYS[f"{name}/{size}.neck.{level}"]).max() < 2e-5


@pytest.mark.parametrize(("name", "size"), RUNS)
def test_logits_are_the_official_ones(name, size):
    batch, _, logits = outputs_of(name, size)
    rows, columns = (max(1, side // 9) for side in logits.shape[2:])
    expected = ARRAYS[f"{name}/{size}.seg_logits"]
    assert np.abs(logits[..., ::rows, ::columns].numpy() - expected).max() < 4e-5
    full = functional.interpolate(logits, batch.shape[2:], mode="bilinear", align_corners=False)
    expected = ARRAYS[f"{name}/{size}.seg_logits_full_crop"]
    assert np.abs(full[:, ::10, 5:37:4, 3:35:4].numpy() - expected).max() < 4e-5
    classes = full.argmax(dim=1)[0, ::4, ::4].numpy()
    assert np.array_equal(classes, ARRAYS[f"{name}/{size}.argmax"])


@pytest.mark.parametrize("name", PUBLISHED)
def test_litv2_has_the_published_number_of_parameters(name):
    with torch.device("meta"):
        model = create(name)
    assert round(sum(value.numel() for value in model.parameters()) / 1e6) == PUBLISHED[name]


@pytest.mark.parametrize("name", ["cas_vit_xs", "lightvit_tiny", "litv2_s"])
def test_a_small_version_of_every_family_learns(name):
    model = semantic_fpn(create_pyramid(name), 11, channels=16, head_channels=8)
    logits = model(torch.randn(2, 3, 64, 96))
    assert logits.shape == (2, 11, 16, 24)
    functional.cross_entropy(logits, torch.zeros(2, 16, 24, dtype=torch.long)).backward()
    assert all(value.grad is not None for value in model.parameters())


@pytest.mark.parametrize("name", ["cas_vit_xs", "lightvit_tiny", "litv2_s"])
@torch.no_grad()
def test_odd_sizes_give_one_place_for_four_pixels(name):
    model = semantic_fpn(create_pyramid(name), 11, channels=8, head_channels=8).eval()
    height, width = model(torch.randn(1, 3, 75, 101)).shape[2:]
    finest = 4 if name != "lightvit_tiny" else 8  # LightViT doubles its map at stride 8
    assert height == -(-75 // finest) * finest // 4
    assert width == -(-101 // finest) * finest // 4


def test_segmenters_are_listed():
    names = {f"{name}_semantic_fpn" for name in ("cas_vit_t", "lightvit_base", "litv2_b")}
    assert names | set(GOLDEN) <= set(variant_names("segment"))
