from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import golden  # noqa: E402

from edgevit.errors import ModelError  # noqa: E402
from edgevit.models import create, create_pyramid, variant_names  # noqa: E402
from edgevit.models.litv2 import (  # noqa: E402
    CONFIGS,
    LITV2_S,
    MLP,
    DeformableConv,
    DeformableTokenMerging,
    HiLo,
    LITv2,
    LITv2Pyramid,
    sample_bilinear,
)
from edgevit.models.variants import find_variant  # noqa: E402

LITV2 = golden.LITV2
ARRAYS = np.load(golden.FOLDER / "litv2.npz")

PYRAMIDS = ["litv2_s_ws2_det_backbone", "litv2_s_ws4_det_backbone", "litv2_s_seg_backbone"]
MODULES = {
    "module_hilo_d128_h4_ws1_a0.9_7x7": HiLo,
    "module_hilo_d384_h12_ws2_a0.5_14x14": HiLo,
    "module_hilo_d384_h12_ws2_a0.9_14x16": HiLo,
    "module_hilo_det_d384_h12_ws2_a0.9_7x7_padded": HiLo,
    "module_dtm_d64_14x14": DeformableTokenMerging,
    "module_dtm_d64_15x13": DeformableTokenMerging,
    "module_litv2_dwmlp_d64_14x10": MLP,
}


def without_memory(build, *args, **kwargs):
    with torch.device("meta"):
        return build(*args, **kwargs)


def filled(module, rows):
    module.load_state_dict(golden.state_dict(rows), assign=True)
    return module.eval().double()


def golden_input(case):
    batch = golden.reference_input(case["input_shape"], case["input_seed"])
    return torch.from_numpy(batch).double()


def keys_and_shapes(module):
    return [[key, list(value.shape)] for key, value in module.state_dict().items()]


def parameters(module):
    return sum(value.numel() for value in module.parameters())


def pyramid_of(name):
    config = replace(LITV2_S, windows=tuple(LITV2[name]["windows"]))
    return without_memory(LITv2Pyramid, config, has_norm0=LITV2[name]["has_norm0"])


@torch.no_grad()
def logits_of(name):
    return filled(without_memory(create, name), golden.official_rows(LITV2, name))(
        golden_input(LITV2[name])
    )


@torch.no_grad()
def output_of(name, module):
    """Tokens (B, H*W, C), as upstream's modules give them."""
    case = LITV2[name]
    tokens = golden_input(case).unflatten(1, case["size"])
    built = without_memory(module, **case["arguments"])
    return filled(built, case["state_dict"])(tokens).flatten(1, 2)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_state_dict_is_the_official_one(name):
    model = without_memory(create, name)
    assert keys_and_shapes(model) == golden.official_rows(LITV2, name)
    assert parameters(model) == LITV2[name]["parameters"]


@pytest.mark.parametrize(
    "name",
    [
        "litv2_s",
        "litv2_s_alpha0.0",
        "litv2_s_alpha0.2",
        "litv2_s_alpha0.4",
        "litv2_s_alpha0.5",
        "litv2_s_alpha1.0",
        pytest.param("litv2_b", marks=pytest.mark.slow),
        pytest.param("litv2_b_384", marks=pytest.mark.slow),
    ],
)
def test_logits_in_float64_are_the_official_ones(name):
    assert np.abs(logits_of(name).numpy() - ARRAYS[name]).max() < 1e-9


@pytest.mark.parametrize(
    "name", ["litv2_s_alpha0.7", pytest.param("litv2_m", marks=pytest.mark.slow)]
)
def test_logits_in_float64_have_the_official_mean_and_spread(name):
    logits, case = logits_of(name), LITV2[name]
    assert logits.mean() == pytest.approx(case["mean"], abs=1e-9)
    assert logits.std(correction=0) == pytest.approx(case["std"], abs=1e-9)


@pytest.mark.parametrize("name", PYRAMIDS)
def test_the_pyramid_has_the_official_state_dict(name):
    model = pyramid_of(name)
    assert keys_and_shapes(model) == golden.official_rows(LITV2, name)
    assert parameters(model) == LITV2[name]["parameters"]


@pytest.mark.parametrize("name", PYRAMIDS)
@pytest.mark.parametrize("size", ["in256x320", "in250x330"])
@torch.no_grad()
def test_the_pyramid_gives_the_official_features(name, size):
    case = LITV2[name]["inputs"][size]
    features = filled(pyramid_of(name), golden.official_rows(LITV2, name))(golden_input(case))
    for level, (feature, official) in enumerate(zip(features, case["levels"], strict=True)):
        assert list(feature.shape) == official["shape"]
        assert feature.mean() == pytest.approx(official["mean"], abs=1e-6)
        assert feature.std() == pytest.approx(official["std"], abs=1e-6)
        steps = [max(1, feature.shape[1] // 16), *(max(1, side // 8) for side in feature.shape[2:])]
        kept = feature.numpy()[:, :: steps[0], :: steps[1], :: steps[2]]
        # The official features were kept in float32, whose own rounding error is up to 2e-5.
        assert np.abs(kept - ARRAYS.get(f"{name}/{size}.out{level}", kept)).max() < 3e-5


@pytest.mark.parametrize("name", MODULES)
def test_one_module_gives_the_official_numbers(name):
    rows, columns = LITV2[name]["steps"]
    kept = output_of(name, MODULES[name])[:, ::rows, ::columns].numpy()
    # The official modules ran in float32, whose own rounding error is up to 3.3e-6.
    assert np.abs(kept - ARRAYS[name]).max() < 4e-6


def test_windows_of_four_with_padding_give_the_official_mean_and_spread():
    name = "module_hilo_det_d384_h12_ws4_a0.5_14x10_padded"
    output = output_of(name, HiLo)
    assert output.mean() == pytest.approx(LITV2[name]["mean"], abs=1e-7)
    assert output.std(correction=0) == pytest.approx(LITV2[name]["std"], abs=1e-7)


def test_fresh_merging_reads_where_a_plain_convolution_does():
    merging = DeformableConv(4, 6)
    x = torch.randn(2, 6, 8, 4)
    plain = torch.nn.functional.conv2d(
        x.permute(0, 3, 1, 2), merging.weight, merging.bias, stride=2
    )
    assert torch.allclose(merging(x), plain.permute(0, 2, 3, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("row", "column", "expected"),
    [
        (1.0, 2.0, 6.0),
        (0.5, 0.5, 3.0),
        (-0.5, 0.0, 0.5),
        (1.0, 2.75, 1.5),
        (-1.0, 0.0, 0.0),
        (2.0, 0.0, 0.0),
        (0.0, 99.0, 0.0),
    ],
    ids=["token", "between", "half above", "mostly beside", "above", "below", "far"],
)
def test_sampling_weights_near_tokens_and_reads_zeros_outside(row, column, expected):
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).view(1, 2, 3, 1)
    position = (torch.full((1, 1, 1, 1), value) for value in (row, column))
    assert sample_bilinear(x, *position).item() == pytest.approx(expected)


def test_every_weight_gets_a_gradient():
    model = LITv2(LITV2_S, num_classes=3)
    model(torch.randn(2, 3, 32, 64)).sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())
    assert model.layers[0].downsample.dconv.conv_offset.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("size", "nearest"),
    [
        ((1, 1), "nearest: 32x32"),
        ((31, 64), "nearest: 32x64"),
        ((200, 224), "nearest: 192x224 or 224x224"),
        ((228, 225), "nearest: 224x224 or 256x224"),
    ],
    ids=str,
)
def test_a_size_that_does_not_divide_is_refused(size, nearest):
    with pytest.raises(ModelError, match=f"not {size[0]}x{size[1]}; {nearest}$"):
        create("litv2_s")(torch.zeros(1, 3, *size))


def test_wider_windows_need_larger_steps():
    model = LITv2(replace(LITV2_S, windows=(0, 0, 4, 1)))
    with pytest.raises(ModelError, match=r"multiples of 64.*nearest: 192x192 or 256x256"):
        model(torch.zeros(1, 3, 224, 224))


@torch.no_grad()
def test_pixels_that_fill_no_patch_are_ignored():
    model, images = create("litv2_s").eval(), torch.randn(1, 3, 35, 66)
    assert torch.equal(model(images), model(images[:, :, :32, :64]))


@pytest.mark.parametrize("size", [(29, 29), (33, 70)], ids=str)
@torch.no_grad()
def test_the_pyramid_takes_any_size_from_29_pixels(size):
    features = create_pyramid("litv2_s").eval()(torch.randn(1, 3, *size))
    for level, feature in enumerate(features):
        patches = [-(-side // 4) for side in size]
        assert list(feature.shape[2:]) == [side // 2**level for side in patches]


def test_the_pyramid_refuses_sizes_that_leave_no_token():
    with pytest.raises(ModelError, match="not 28x64; nearest: 29x64"):
        create_pyramid("litv2_s")(torch.zeros(1, 3, 28, 64))


def test_another_number_of_classes_changes_the_head_only():
    assert create("litv2_s", num_classes=7)(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_the_official_evaluation_crops_except_after_finetuning_at_384():
    crop, stretch = (
        find_variant(name).evaluation((384, 384)) for name in ("litv2_b", "litv2_b_384")
    )
    assert (crop.resize, crop.crop_pct) == ("shorter", 224 / 256)
    assert (stretch.resize, stretch.crop_pct) == ("stretch", 1.0)


def test_every_variant_is_listed():
    assert set(CONFIGS) <= set(variant_names())
