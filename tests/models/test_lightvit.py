import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import golden  # noqa: E402

from edgevit.core.model.spec import InputSpec  # noqa: E402
from edgevit.errors import ModelError  # noqa: E402
from edgevit.models import create, create_pyramid, variant_names  # noqa: E402
from edgevit.models.lightvit import (  # noqa: E402
    MLP,
    Block,
    LightViT,
    LightViTAttention,
    LightViTConfig,
    ResidualMerge,
)
from edgevit.models.variants import find_variant  # noqa: E402

VARIANTS = ["lightvit_tiny", "lightvit_small", "lightvit_base"]
PYRAMIDS = ["lightvit_tiny_det_backbone", "lightvit_small_det_backbone"]
PYRAMID_RUNS = [(name, size) for name in PYRAMIDS for size in golden.LIGHTVIT[name]["inputs"]]
SMALLEST = LightViTConfig(
    depths=(1, 1, 1), dims=(8, 16, 32), heads=(1, 2, 4), num_tokens=3, num_dense_tokens=5
)
ARRAYS = golden.arrays("lightvit")


def filled(module, rows):
    # A strict load: the module's own state dict adds the indices that it computes.
    module.load_state_dict(module.state_dict() | golden.state_dict(rows))
    return module.eval().double()


def keys_and_shapes(module):
    return [[key, list(value.shape)] for key, value in module.state_dict().items()]


def parameters(module):
    return sum(value.numel() for value in module.parameters())


def reference_input(case):
    batch = golden.reference_input(case["input_shape"], case["input_seed"])
    return torch.from_numpy(batch).double()


@torch.no_grad()
def logits_of(name):
    case = golden.LIGHTVIT[name]
    return filled(create(name), case["state_dict"])(reference_input(case)).numpy()


@pytest.mark.parametrize("name", VARIANTS)
def test_the_state_dict_is_the_official_one(name):
    model = create(name)
    assert keys_and_shapes(model) == golden.LIGHTVIT[name]["state_dict"]
    assert parameters(model) == golden.LIGHTVIT[name]["parameters"]


@pytest.mark.parametrize("name", ["lightvit_tiny", "lightvit_small"])
def test_logits_in_float64_are_the_official_ones(name):
    assert np.abs(logits_of(name) - ARRAYS[name]).max() < 1e-9


def test_logits_in_float64_have_the_official_mean_and_spread():
    logits, case = logits_of("lightvit_base"), golden.LIGHTVIT["lightvit_base"]
    assert logits.mean() == pytest.approx(case["mean"], abs=1e-9)
    assert logits.std() == pytest.approx(case["std"], abs=1e-9)


@pytest.mark.parametrize("name", PYRAMIDS)
def test_the_pyramid_has_the_official_state_dict(name):
    case = golden.LIGHTVIT[name]
    model = create_pyramid(case["variant"])
    assert keys_and_shapes(model) == case["state_dict"]
    assert parameters(model) == case["parameters"]


@pytest.mark.parametrize(("name", "size"), PYRAMID_RUNS)
@torch.no_grad()
def test_the_pyramid_gives_the_official_features(name, size):
    case = golden.LIGHTVIT[name]
    model = filled(create_pyramid(case["variant"]), case["state_dict"])
    run = case["inputs"][size]
    features = [feature.numpy() for feature in model(reference_input(run))]
    assert [list(feature.shape) for feature in features] == [x["shape"] for x in run["levels"]]
    for level, feature in enumerate(features):
        # The official features were kept in float32, whose own rounding error is up to 2.9e-6.
        assert feature.mean() == pytest.approx(run["levels"][level]["mean"], abs=5e-6)
        assert feature.std(ddof=1) == pytest.approx(run["levels"][level]["std"], abs=5e-6)
        _, channels, height, width = feature.shape
        kept = feature[:, :: channels // 16, :: max(1, height // 8), :: max(1, width // 8)]
        expected = ARRAYS.get(f"{name}/{size}.out{level}", kept)
        assert np.abs(kept - expected).max() < 5e-6


@pytest.mark.parametrize(
    ("name", "module", "tolerance"),
    [
        ("attention_d64_28x28", lambda: LightViTAttention(64, 2, 8), 2e-6),
        ("det_attention_d64_20x30_padded", lambda: LightViTAttention(64, 2, 8), 2e-6),
        ("biattn_mlp_d64", lambda: MLP(64, 256), 2e-6),
        # The official float32 run of the merge differs from its float64 run by 2.9e-6.
        ("merge_d64_28x28", lambda: ResidualMerge(64, 128, 8), 4e-6),
        ("det_merge_d64_15x21_padded", lambda: ResidualMerge(64, 128, 8), 4e-6),
    ],
    ids=["attention", "padded attention", "mlp", "merge", "padded merge"],
)
@torch.no_grad()
def test_one_module_gives_the_official_numbers(name, module, tolerance):
    case = golden.LIGHTVIT[f"module_lightvit_{name}"]
    built = filled(module(), case["state_dict"])
    assert keys_and_shapes(built) == case["state_dict"]
    size = [tuple(case["size"])] if "size" in case else []
    result = built(reference_input(case), *size)
    tokens = result[0] if isinstance(built, ResidualMerge) else result
    # Every fourth channel was kept.
    assert np.abs(tokens[..., ::4].numpy() - ARRAYS[f"module_lightvit_{name}"]).max() < tolerance


@pytest.mark.parametrize("size", [(1, 1), (33, 64), (64, 31)], ids=str)
@torch.no_grad()
def test_the_pyramid_takes_any_size(size):
    features = create_pyramid("lightvit_tiny").eval()(torch.randn(1, 3, *size))
    for level, feature in enumerate(features):
        stride = 8 * 2**level
        assert feature.shape[2:] == tuple(-(-side // stride) for side in size)


@pytest.mark.parametrize("size", [(224, 224), (217, 441), (448, 220)], ids=str)
@torch.no_grad()
def test_the_classifier_takes_what_its_windows_divide(size):
    assert LightViT(SMALLEST, 7).eval()(torch.randn(2, 3, *size)).shape == (2, 7)


@pytest.mark.parametrize(
    ("size", "nearest"),
    [
        ((1, 1), "224x224"),
        ((256, 320), "224x224"),
        ((216, 224), "224x224"),
        ((224, 225), "224x224"),
        ((350, 700), "448x672"),
        ((112, 112), "224x224"),
    ],
    ids=str,
)
def test_another_size_is_refused_with_the_nearest(size, nearest):
    message = rf"image of {size[0]}x{size[1]} .*multiple of 224, or up to 7 less. Pass {nearest}"
    with pytest.raises(ModelError, match=message):
        LightViT(SMALLEST).eval()(torch.zeros(1, 3, *size))


def test_another_number_of_classes_changes_the_head_only():
    expected = golden.LIGHTVIT["lightvit_tiny"]["state_dict"]
    actual = keys_and_shapes(create("lightvit_tiny", num_classes=7))
    assert actual[:-2] == expected[:-2]
    assert actual[-2:] == [["head.weight", [7, 1280]], ["head.bias", [7]]]


def test_stochastic_depth_drops_whole_branches_in_training_only():
    block = Block(32, num_heads=1, num_tokens=2, drop_path=1.0 - 1e-9)
    x = torch.randn(3, 2 + 7 * 7, 32)
    assert torch.equal(block.train()(x, (7, 7))[0], x)
    assert not torch.allclose(block.eval()(x, (7, 7))[0], x, atol=1e-2)


@pytest.mark.slow
@torch.no_grad()
def test_the_classifier_exports_as_it_stands():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from edgevit.convert.session import load_graph
    from edgevit.export.trace import graph_from_module

    torch.manual_seed(0)
    model = LightViT(SMALLEST, num_classes=10).eval()
    batch = torch.randn(3, 3, 224, 224)
    graph = graph_from_module(model, (224, 224), dynamic_batch=True)
    assert np.abs(load_graph(graph)(batch.numpy())["logits"] - model(batch).numpy()).max() < 1e-5


@pytest.mark.parametrize("name", VARIANTS)
def test_evaluation_crops_the_center_of_a_bicubic_256(name):
    spec = find_variant(name).evaluation((224, 224))
    assert spec == InputSpec((224, 224), resize="shorter", crop_pct=0.875, interpolation="bicubic")


def test_every_variant_is_listed():
    assert set(VARIANTS) <= set(variant_names())
