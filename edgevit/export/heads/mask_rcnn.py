"""How a Mask R-CNN's graph ends: in boxes with masks, as `edgevit.core.tasks.detect` reads them.

Besides the image it takes what only the caller knows: how much of the input the image fills, and
which detections are wanted, because those that are not need not be computed.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from edgevit.core.model.heads import BoxHead, Selection
from edgevit.core.tasks.boxes import box_iou
from edgevit.export.checkpoint.weights import StateDict
from edgevit.export.deploy.mask_rcnn import DeployBoxes, DeployMaskRCNN
from edgevit.export.heads.base import Comparison, GraphHead, HeadExporter, Outputs, Size
from edgevit.export.operations import multiply_adds
from edgevit.models.mask_rcnn import BOX_SIDE, Instances, MaskRCNN

MASK_THRESHOLD = 0.5  # upstream's `mask_thr_binary`

# Of the detections, in which the graph and the module may differ: where two boxes are alike, or
# overlap by just the threshold, rounding decides which of them goes.
MAX_UNMATCHED = 0.1
SAME_BOX = 0.99  # intersection over union
SAME_BOX_IN_HALF = 0.9  # its coordinates are in float32, but what moves it is rounded


def mask_rcnn_graph_head(module: MaskRCNN, size: Size, form: str | None) -> GraphHead:
    """How the graph of a Mask R-CNN ends.

    Args:
        module: the detector.
        size: input (height, width) in pixels.
        form: there is one only.
    """
    config = module.config
    selection = Selection(
        score_threshold=config.score_threshold,
        iou_threshold=config.detection_iou,
        max_detections=config.max_detections,
    )
    return GraphHead(
        head=BoxHead(selection, MASK_THRESHOLD).to_dict(),
        outputs=("boxes", "scores", "class_ids", "masks"),
        attach=_deploy_form,
        compare=_compare,
        recorded=("scores",),
        # All that the graph can find, so that fresh weights have something to compare.
        settings={
            "image_size": np.array(size, np.float32),
            "score_threshold": np.zeros(1, np.float32),
            "max_masks": np.array([config.max_detections]),
        },
        reference=_without_threshold,
        count=_multiply_adds_without_masks,
        compare_half=partial(_compare, same_box=SAME_BOX_IN_HALF),
    )


def _deploy_form(module: nn.Module) -> nn.Module:
    assert isinstance(module, MaskRCNN)
    return DeployMaskRCNN(module).requires_grad_(False)


def _without_threshold(module: MaskRCNN) -> MaskRCNN:
    module = deepcopy(module)
    module.roi_head.config = replace(module.roi_head.config, score_threshold=0.0)
    return module


def _multiply_adds_without_masks(module: MaskRCNN, size: Size) -> int:
    """Of all that does not depend on how many detections there are."""
    image, two, one = (torch.empty(shape, device="meta") for shape in ((1, 3, *size), 2, 1))
    return multiply_adds(DeployBoxes(deepcopy(module)), image, two, one)


def _compare(
    answer: Instances, outputs: Outputs, same_box: float = SAME_BOX
) -> Iterator[Comparison]:
    """The best scores are the module's, and so is every detection that both have found."""
    boxes, scores, class_ids, logits = (part[0].numpy() for part in answer)
    found = {name: values[0] for name, values in outputs.items()}
    yield Comparison("a score", found["scores"], scores)
    overlaps = box_iou(found["boxes"], boxes)
    overlaps[found["class_ids"][:, None] != class_ids] = 0
    partner = overlaps.argmax(axis=1)
    matched = np.flatnonzero(overlaps.max(axis=1) > same_box)
    partner = partner[matched]
    unmatched = np.count_nonzero(found["scores"]) - len(matched)
    share = np.array([unmatched / max(1, len(scores))])
    yield Comparison("its choice of boxes", share * (share > MAX_UNMATCHED), np.zeros(1))
    yield Comparison("a corner", found["boxes"][matched], boxes[partner])
    masks = 1 / (1 + np.exp(-logits))
    matched, partner = (places[matched < len(found["masks"])] for places in (matched, partner))
    yield Comparison("a mask", found["masks"][matched], masks[partner])


def _num_classes(weights: StateDict) -> int | None:
    weight = weights.get("roi_head.mask_head.conv_logits.weight")
    return None if weight is None else weight.shape[0]


def _widths(weights: StateDict) -> dict[str, int]:
    """Channels, width of the box head and number of stacked convolutions."""
    first = weights.get("roi_head.bbox_head.shared_fcs.0.weight")
    if first is None:
        return {}
    stacked = sum(
        key.startswith("roi_head.mask_head.convs.") and key.endswith(".weight") for key in weights
    )
    channels = first.shape[1] // BOX_SIDE**2
    return {"channels": channels, "box_channels": first.shape[0], "stacked": stacked}


MASK_RCNN = HeadExporter(
    _num_classes, _widths, mask_rcnn_graph_head, size_step=32, has_score_threshold=True
)
