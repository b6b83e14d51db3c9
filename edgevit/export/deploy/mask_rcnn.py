"""Mask R-CNN for inference.

Suppression and the cutting out of boxes are a runtime's own operators, and boxes are put into the
order of the levels that they are cut out of. Up to the detections every shape is known, as in the
module; masks are drawn only where there is a detection, as they cost the most:

    - The transposed convolution is a 1x1 convolution with channels for each of the four pixels that
      a place becomes. The pixels take their places when there is one value left of each.
    - That value is only computed for the detection's own class.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgevit.export.deploy.fold import conv_from
from edgevit.export.operators import cut, suppress
from edgevit.models.mask_rcnn import MaskHead, MaskRCNN
from edgevit.models.roi import NMS, RoIAlign


class OperatorNMS(NMS):
    """`NMS` by a runtime's operator."""

    def forward(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Map boxes (G, N, 4) and scores (G, N) to places (limit,) and scores (limit,)."""
        places, kept = suppress(boxes, scores, self.iou_threshold, self.limit)
        return places, kept


class OperatorRoIAlign(nn.Module):
    """`RoIAlign` by a runtime's operator, on boxes in the order of their levels."""

    def __init__(self, model: RoIAlign) -> None:
        super().__init__()
        self.cells, self.strides = model.cells, model.strides
        self.level_of = model.level_of

    def order(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """The order that boxes (R, 4) must have, int64 (R,), and their levels in it, int64 (R,)."""
        levels = self.level_of(boxes)
        order = levels.argsort()
        return order, levels[order]

    def forward(self, levels: list[Tensor], boxes: Tensor, chosen: Tensor) -> Tensor:
        """Map levels (1, C, H, W) and ordered boxes (R, 4) to cuts (R, C, cells, cells)."""
        return cut(levels, boxes, chosen, self.strides, self.cells)


class Found(NamedTuple):
    """What is known before the masks; `MaskRCNN`'s `Instances` says more.

    Args:
        levels: maps (1, C, H, W) that boxes are cut out of.
        boxes: (D, 4).
        scores: (D,), the best first, 0 where there are fewer.
        class_ids: int64 (D,).
    """

    levels: list[Tensor]
    boxes: Tensor
    scores: Tensor
    class_ids: Tensor


class DeployBoxes(nn.Module):
    """`MaskRCNN` up to its masks, for one image.

    Args:
        model: the detector, whose backbone and neck may be deploy forms; it is used up.
    """

    def __init__(self, model: MaskRCNN) -> None:
        super().__init__()
        self.model = model
        for owner in (model, model.roi_head):
            owner.suppress = OperatorNMS(owner.suppress.iou_threshold, owner.suppress.limit)
        self.box_cut = OperatorRoIAlign(model.roi_head.box_cut)

    def forward(self, image: Tensor, image_size: Tensor, score_threshold: Tensor) -> Found:
        """Detect in an image (1, 3, H, W) that an image fills up to `image_size`, (2,).

        A detection's score is greater than `score_threshold`, (1,).
        """
        levels = self.model.neck(self.model.backbone(image))
        proposals, scores = self.model.propose(levels, image_size)
        order, chosen = self.box_cut.order(proposals)
        proposals, is_proposal = proposals[order], scores[order] > 0
        cuts = self.box_cut(levels[:-1], proposals, chosen)
        boxes, scores = self.model.roi_head.classify(cuts, proposals, is_proposal, image_size)
        return Found(levels[:-1], *self.model.roi_head.select(boxes, scores, score_threshold))


class DeployMaskHead(nn.Module):
    """`MaskHead` for masks of known classes."""

    def __init__(self, head: MaskHead) -> None:
        super().__init__()
        self.convs = head.convs
        channels, width = head.upsample.weight.shape[:2]
        # (C, width, 2, 2) -> (2 * 2 * width, C, 1, 1)
        weight = head.upsample.weight.permute(2, 3, 1, 0).reshape(4 * width, channels, 1, 1)
        assert head.upsample.bias is not None
        assert head.conv_logits.bias is not None
        self.enlarge = conv_from(weight, head.upsample.bias.repeat(4))
        self.weight = nn.Parameter(head.conv_logits.weight.flatten(1))  # (num_classes, width)
        self.bias = nn.Parameter(head.conv_logits.bias)

    def forward(self, cuts: Tensor, class_ids: Tensor) -> Tensor:
        """Map cuts (M, C, s, s) and classes (M,) to mask logits (M, 2s, 2s)."""
        for conv in self.convs:
            cuts = conv(cuts)
        side = cuts.shape[-1]
        pixels = self.enlarge(cuts).relu().reshape(-1, 4, self.weight.shape[1], side * side)
        weight, bias = self.weight[class_ids], self.bias[class_ids]
        logits = (weight[:, None, None] @ pixels).reshape(-1, 2, 2, side, side)
        # (M, row in a place, column in a place, s, s) -> (M, 2s, 2s)
        masks = logits.permute(0, 3, 1, 4, 2).reshape(-1, 2 * side, 2 * side)
        return masks + bias[:, None, None]


class DeployMaskRCNN(nn.Module):
    """`MaskRCNN` for one image, as `edgevit.core.tasks.detect` reads it.

    Args:
        model: the detector, whose backbone and neck may be deploy forms; it is used up.
    """

    def __init__(self, model: MaskRCNN) -> None:
        super().__init__()
        self.boxes = DeployBoxes(model)
        self.mask_cut = OperatorRoIAlign(model.roi_head.mask_cut)
        self.mask_head = DeployMaskHead(model.roi_head.mask_head)

    def forward(
        self, image: Tensor, image_size: Tensor, score_threshold: Tensor, max_masks: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Detect in one image.

        Args:
            image: float (1, 3, H, W), normalized RGB.
            image_size: float (2,), the (height, width) in pixels that the image fills of it.
            score_threshold: float (1,), which a detection's score is greater than.
            max_masks: int64 (1,), how many of the best detections get a mask.

        Returns:
            Boxes (1, D, 4), scores (1, D) and class_ids int64 (1, D), the best first, with score 0
            where there are fewer; and masks (1, M, 28, 28) of the first M, probabilities.
        """
        found = self.boxes(image, image_size, score_threshold)
        rank = torch.arange(len(found.scores))
        wanted = ((found.scores > 0) & (rank < max_masks)).nonzero()[:, 0]
        boxes, class_ids = found.boxes[wanted], found.class_ids[wanted]
        order, chosen = self.mask_cut.order(boxes)
        cuts = self.mask_cut(found.levels, boxes[order], chosen)
        masks = self.mask_head(cuts, class_ids[order]).sigmoid()[order.argsort()]
        return found.boxes[None], found.scores[None], found.class_ids[None], masks[None]
