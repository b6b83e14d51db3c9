from functools import cache

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import golden  # noqa: E402
from detections import matched_errors  # noqa: E402

from edgevit.models import create, create_pyramid, mask_rcnn, variant_names  # noqa: E402
from edgevit.models.cas_vit import CASViTConfig, CASViTPyramid  # noqa: E402
from edgevit.models.mask_rcnn import MaskRCNNConfig  # noqa: E402

GOLDEN = ["cas_vit_xs_mask_rcnn", "lightvit_tiny_mask_rcnn", "litv2_s_mask_rcnn"]
ARRAYS = golden.arrays("dense")
SMALLEST = CASViTConfig(depths=(1, 1, 1, 1), dims=(8, 8, 16, 16))
FEW = MaskRCNNConfig(candidates=20, proposals=30, max_detections=10, score_threshold=0.0)

# Millions of parameters, from the READMEs of github.com/ziplab/LITv2 and github.com/hunto/LightViT.
PUBLISHED = {
    "lightvit_tiny_mask_rcnn": 28,
    "lightvit_small_mask_rcnn": 38,
    "lightvit_base_mask_rcnn": 54,
    "litv2_s_mask_rcnn": 47,
    "litv2_m_mask_rcnn": 68,
    "litv2_b_ws4_mask_rcnn": 106,
}


@cache
@torch.no_grad()
def run_of(name):
    """The model, its maps, proposals with their scores, and the instances.

    What follows the proposals runs in float32, for the sake of time.
    """
    case, model = golden.DENSE[name], golden.dense_model(name)
    levels = model.neck(model.backbone(golden.padded_image(case)))
    size = torch.tensor(case["image_size"])
    proposals, scores = model.propose(levels, size)
    maps = [level[0].float() for level in levels[:-1]]
    instances = model.roi_head.float()(maps, proposals.float(), scores > 0, size)
    return model, levels, proposals, scores, instances


def worst(found, name, part):
    return np.abs(found.numpy() - ARRAYS[f"{name}/{part}"]).max()


def smallest_model(config=FEW):
    torch.manual_seed(0)
    backbone = CASViTPyramid(SMALLEST)
    return mask_rcnn(backbone, 3, channels=8, box_channels=16, stacked=1, config=config).eval()


@pytest.mark.parametrize("name", GOLDEN)
def test_the_state_dict_is_the_official_one(name):
    model = create(name)
    rows = [
        [key, list(value.shape)]
        for key, value in model.state_dict().items()
        if golden.COMPUTED not in key
    ]
    official = [row for row in golden.dense_rows(name) if golden.COMPUTED not in row[0]]
    assert rows == official
    assert sum(value.numel() for value in model.parameters()) == golden.DENSE[name]["parameters"]


@pytest.mark.parametrize("name", GOLDEN)
@torch.no_grad()
def test_maps_and_anchors_outputs_are_the_official_ones(name):
    model, levels, *_ = run_of(name)
    assert [list(level.shape) for level in levels] == golden.DENSE[name]["levels"]
    for index, level in enumerate(levels):
        outputs = dict(zip(("rpn_cls_score", "rpn_bbox_pred"), model.rpn_head(level), strict=True))
        for part, x in {"neck": level, **outputs}.items():
            # The official float32 run differs from its float64 run by up to 1.2e-5.
            expected = ARRAYS[f"{name}/{part}.{index}"]
            assert np.abs(golden.kept(x, 24) - expected).max() < 1.5e-5


@pytest.mark.parametrize("name", GOLDEN)
def test_proposals_are_the_official_ones(name):
    _, _, proposals, scores, _ = run_of(name)
    assert len(proposals) == 1000
    assert (scores > 0).all()
    assert worst(proposals[:64], name, "proposals") < 1e-3  # pixels
    assert worst(scores[:64], name, "proposal_scores") < 1e-6


@pytest.mark.parametrize("name", GOLDEN)
@torch.no_grad()
def test_the_box_head_gives_the_official_numbers(name):
    model, levels, proposals, *_ = run_of(name)
    maps = [level[0].float() for level in levels[:-1]]
    cuts = model.roi_head.box_cut(maps, proposals[:16].float())
    logits, deltas = model.roi_head.bbox_head(cuts)
    assert worst(cuts[:, ::16], name, "roi_feats16") < 1e-4
    assert worst(logits, name, "roi_cls_score16") < 1e-4
    assert worst(deltas[:, ::8], name, "roi_bbox_pred16") < 1e-4


@pytest.mark.parametrize("name", GOLDEN)
def test_detections_and_masks_are_the_official_ones(name):
    boxes, scores, class_ids, mask_logits = run_of(name)[-1]
    official = [ARRAYS[f"{name}/det_{part}"] for part in ("bboxes", "scores", "labels")]
    found = [x.numpy() for x in (boxes, scores, class_ids)]
    overlaps, score_errors, corner_errors = matched_errors(found, official)
    assert len(boxes) == len(official[0])
    assert overlaps.min() > 0.99
    assert score_errors.max() < 5e-5
    assert corner_errors.max() < 2e-3  # pixels
    assert worst(mask_logits[:3], name, "mask_logits_top3") < 1e-4


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_number_of_parameters_is_the_published_one(name):
    model = create(name)
    # LITv2-B's 106.5 are published as 106.
    assert abs(sum(value.numel() for value in model.parameters()) / 1e6 - PUBLISHED[name]) < 0.6


@torch.no_grad()
def test_pictures_of_a_batch_do_not_touch_each_other():
    model, batch = smallest_model(), torch.randn(2, 3, 64, 96)
    sizes = torch.tensor([[64, 96], [50, 70]])
    together = model(batch, sizes)
    alone = model(batch[1:], sizes[1:])
    for whole, part in zip(together, alone, strict=True):
        assert torch.allclose(whole[1:], part, atol=1e-5)
    assert together.boxes[1, :, 0::2].max() <= 70
    assert together.boxes[1, :, 1::2].max() <= 50


@torch.no_grad()
def test_a_picture_fills_its_input_unless_told_otherwise():
    model, batch = smallest_model(), torch.randn(1, 3, 64, 96)
    told = model(batch, torch.tensor([[64, 96]]))
    assert all(torch.equal(*pair) for pair in zip(model(batch), told, strict=True))


@torch.no_grad()
def test_missing_detections_have_score_zero_and_empty_boxes():
    config = MaskRCNNConfig(candidates=20, proposals=30, max_detections=10, score_threshold=0.9)
    found = smallest_model(config)(torch.randn(1, 3, 64, 96))
    assert found.boxes.shape == (1, 10, 4)
    assert found.mask_logits.shape == (1, 10, 28, 28)
    assert not found.scores.any()
    assert not found.boxes.any()


@torch.no_grad()
def test_fewer_anchors_than_candidates_are_no_hindrance():
    config = MaskRCNNConfig(candidates=5000, proposals=2000, max_detections=5)
    model = smallest_model(config)
    levels = model.neck(model.backbone(torch.randn(1, 3, 32, 32)))
    boxes, scores = model.propose(levels, torch.tensor([32, 32]))
    anchors = 3 * sum(level.shape[2] * level.shape[3] for level in levels)
    assert len(boxes) == len(scores) == 2000
    assert 0 < (scores > 0).sum() <= anchors
    assert not boxes[scores == 0].any()


@pytest.mark.parametrize("name", ["cas_vit_xs", "lightvit_tiny", "litv2_s"])
@torch.no_grad()
def test_a_small_version_fits_every_family(name):
    model = mask_rcnn(create_pyramid(name), 6, channels=8, box_channels=16, stacked=1, config=FEW)
    found = model.eval()(torch.randn(1, 3, 75, 101))
    assert [tuple(x.shape) for x in found] == [(1, 10, 4), (1, 10), (1, 10), (1, 10, 28, 28)]


def test_detectors_are_listed():
    assert set(GOLDEN) | set(PUBLISHED) <= set(variant_names("detect"))
