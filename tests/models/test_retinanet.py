from functools import cache

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import golden  # noqa: E402
from detections import matched_errors, suppress  # noqa: E402

from edgevit.models import create, create_pyramid, retinanet, variant_names  # noqa: E402
from edgevit.models.boxes import by_anchor, clip_boxes, decode_deltas, level_anchors  # noqa: E402
from edgevit.models.cas_vit import CASViTConfig, CASViTPyramid  # noqa: E402

GOLDEN = ["cas_vit_xs_retinanet", "litv2_s_retinanet"]
ARRAYS = golden.arrays("dense")
SMALLEST = CASViTConfig(depths=(1, 1, 1, 1), dims=(8, 8, 16, 16))

# Millions of parameters, from the README of github.com/ziplab/LITv2.
PUBLISHED = {
    "litv2_s_retinanet": 38,
    "litv2_m_retinanet": 59,
    "litv2_b_retinanet": 97,
    "litv2_s_ws4_retinanet": 38,
    "litv2_m_ws4_retinanet": 59,
    "litv2_b_ws4_retinanet": 97,
}


@cache
def outputs_of(name):
    """Neck maps, class logits and deltas for the golden input."""
    model, batch = golden.dense_model(name), golden.padded_image(golden.DENSE[name])
    with torch.no_grad():
        return model, model.neck(model.backbone(batch)[-3:]), *model(batch)


def level_candidates(model, logits, deltas, stride):
    """Boxes, scores and labels of a level: the best 1000 above 0.05."""
    anchors = level_anchors(model.anchors, stride, logits)
    scores = by_anchor(logits, 80)[0].sigmoid()
    top, places = scores.flatten().topk(min(1000, int((scores > 0.05).sum())))
    anchor, label = places // 80, places % 80
    boxes = decode_deltas(anchors[anchor], by_anchor(deltas, 4)[0, anchor])
    boxes = clip_boxes(boxes, torch.tensor(golden.DENSE["cas_vit_xs_retinanet"]["image_size"]))
    return boxes, top, label


def detections_of(name):
    model, _, *outputs = outputs_of(name)
    levels = [
        level_candidates(model, *level)
        for level in zip(*outputs, model.anchors.strides, strict=True)
    ]
    boxes, scores, labels = (torch.cat(parts).numpy() for parts in zip(*levels, strict=True))
    filled = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    boxes, scores, labels = boxes[filled], scores[filled], labels[filled]
    best = suppress(boxes, scores, labels, 0.5)[:100]
    return boxes[best], scores[best], labels[best]


@pytest.mark.parametrize("name", GOLDEN)
def test_the_state_dict_is_the_official_one(name):
    model = create(name)
    rows = [[key, list(value.shape)] for key, value in model.state_dict().items()]
    assert rows == golden.dense_rows(name)
    assert sum(value.numel() for value in model.parameters()) == golden.DENSE[name]["parameters"]


@pytest.mark.parametrize("name", GOLDEN)
def test_maps_logits_and_deltas_are_the_official_ones(name):
    _, *outputs = outputs_of(name)
    assert [list(level.shape) for level in outputs[0]] == golden.DENSE[name]["levels"]
    for output, levels in zip(("neck", "cls_score", "bbox_pred"), outputs, strict=True):
        for level, x in enumerate(levels):
            expected = ARRAYS[f"{name}/{output}.{level}"]
            # The official float32 run differs from its float64 run by up to 1.3e-5.
            assert np.abs(golden.kept(x, 24) - expected).max() < 1.5e-5


@pytest.mark.parametrize("name", GOLDEN)
def test_detections_are_the_official_ones(name):
    official = [ARRAYS[f"{name}/det_{part}"] for part in ("bboxes", "scores", "labels")]
    found = detections_of(name)
    overlaps, score_errors, corner_errors = matched_errors(found, official)
    assert len(found[0]) == len(official[0]) == 100
    assert overlaps.min() > 0.99
    assert score_errors.max() < 1e-5
    assert corner_errors.max() < 1e-3  # pixels


@pytest.mark.parametrize("name", PUBLISHED)
def test_litv2_has_the_published_number_of_parameters(name):
    with torch.device("meta"):
        model = create(name)
    assert round(sum(value.numel() for value in model.parameters()) / 1e6) == PUBLISHED[name]


def test_larger_windows_change_features_and_no_key():
    plain, large = create("litv2_s_retinanet"), create("litv2_s_ws4_retinanet")
    large.load_state_dict(plain.state_dict())
    batch = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        features, others = plain.eval().backbone(batch), large.eval().backbone(batch)
    assert torch.equal(features[1], others[1])
    assert not torch.allclose(features[2], others[2], atol=1e-3)


@pytest.mark.parametrize("name", ["cas_vit_xs", "lightvit_tiny", "litv2_s"])
@torch.no_grad()
def test_a_small_version_fits_every_family(name):
    model = retinanet(create_pyramid(name), 6, channels=16, stacked=2).eval()
    logits, deltas = model(torch.randn(2, 3, 100, 160))
    assert [x.shape[1] for x in logits] == 5 * [9 * 6]
    assert [x.shape[1] for x in deltas] == 5 * [9 * 4]
    assert [x.shape[2:] for x in logits] == [x.shape[2:] for x in deltas]
    assert len(model.bbox_head.cls_convs) == len(model.bbox_head.reg_convs) == 2


@torch.no_grad()
def test_a_head_without_towers_is_two_convolutions():
    head = retinanet(CASViTPyramid(SMALLEST), 6, channels=16, stacked=0).bbox_head
    x = torch.randn(1, 16, 5, 4)
    assert torch.equal(head(x)[0], head.retina_cls(x))


@torch.no_grad()
def test_every_anchor_scores_one_per_cent_before_training():
    logits, _ = retinanet(CASViTPyramid(SMALLEST), 6).eval()(torch.randn(1, 3, 64, 64))
    assert torch.allclose(logits[0].sigmoid(), torch.tensor(0.01), atol=2e-3)


def test_every_parameter_learns():
    model = retinanet(CASViTPyramid(SMALLEST), 6, channels=8, stacked=1)
    logits, deltas = model(torch.randn(2, 3, 64, 64))
    sum(x.square().mean() for x in logits + deltas).backward()
    idle = [key for key, value in model.named_parameters() if value.grad is None]
    assert idle == ["backbone.norm0.weight", "backbone.norm0.bias"]  # the finest map has no use


def test_dense_variants_are_listed_by_task():
    assert set(GOLDEN) | set(PUBLISHED) <= set(variant_names("detect"))
    assert set(variant_names("detect")) < set(variant_names())
    assert "cas_vit_xs" not in variant_names("detect")
