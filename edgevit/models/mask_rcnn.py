"""Mask R-CNN: two-stage detection with a mask for every box, on any of the dense backbones.

Paper: He et al., "Mask R-CNN", arXiv:1703.06870.
Repositories: github.com/open-mmlab/mmdetection (Apache-2.0), `mmdet/models/roi_heads/` and
`mmdet/models/dense_heads/rpn_head.py`, as configured by github.com/Tianfang-Zhang/CAS-ViT (MIT),
github.com/hunto/LightViT and github.com/ziplab/LITv2 (Apache-2.0). Written anew from the paper and
the published state-dict keys; parameter names are the official ones, so official checkpoints load
strictly.

Differences from upstream:
    - Every shape is known beforehand: there are always as many proposals and detections as the
      limits allow, the missing ones with score 0. No step depends on the data in its shape.
    - Non-maximum suppression (`NMS`) and `RoIAlign` are modules of plain PyTorch operations. They
      give upstream's numbers, and an exporter can put a runtime's own operators in their place.
    - Box decoding, suppression and the masks' heads are in `forward`; pasting masks into the
      image is left to whoever uses them.
    - Only what is needed to run a detector, not the sampling of training examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from edgevit.core.model.heads import AnchorGrid
from edgevit.models.boxes import by_anchor, clip_boxes, decode_deltas, level_anchors
from edgevit.models.fpn import FPN, conv_unit, four_level_fpn, initialize_head, map_channels
from edgevit.models.roi import NMS, RoIAlign

BOX_SIDE = 7  # places along a side of what the box head sees of a proposal
MASK_SIDE = 14  # of what the mask head sees; masks are twice as large
BOX_STDS = (0.1, 0.1, 0.2, 0.2)
ANCHORS = AnchorGrid(strides=(4, 8, 16, 32, 64), ratios=(0.5, 1.0, 2.0), scales=(8.0,))


@dataclass(frozen=True)
class MaskRCNNConfig:
    """Anchors, thresholds and limits.

    Args:
        anchors: shapes of the anchors, for five levels.
        candidates: best anchors of a level that become candidates.
        proposals: best candidates that the box head sees.
        proposal_iou: overlap from which a better candidate of its level suppresses another.
        score_threshold: least score of a detection.
        detection_iou: overlap from which a better detection of its class suppresses another.
        max_detections: number of detections of an image.
    """

    anchors: AnchorGrid = ANCHORS
    candidates: int = 1000
    proposals: int = 1000
    proposal_iou: float = 0.7
    score_threshold: float = 0.05
    detection_iou: float = 0.5
    max_detections: int = 100


OFFICIAL = MaskRCNNConfig()


class Instances(NamedTuple):
    """Detections of an image, the best first, and rows of score 0 where there are fewer.

    Args:
        boxes: (D, 4) xyxy, pixels of the network's input.
        scores: (D,).
        class_ids: int64 (D,).
        mask_logits: (D, 28, 28), over the box; sigmoids from 0.5 on belong to the object.
    """

    boxes: Tensor
    scores: Tensor
    class_ids: Tensor
    mask_logits: Tensor


class RPNHead(nn.Module):
    """One 3x3 convolution, shared by all levels: a logit and box deltas for every anchor."""

    def __init__(self, channels: int, num_anchors: int) -> None:
        super().__init__()
        self.rpn_conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.rpn_cls = nn.Conv2d(channels, num_anchors, kernel_size=1)
        self.rpn_reg = nn.Conv2d(channels, num_anchors * 4, kernel_size=1)
        self.apply(initialize_head)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, channels, H, W) to logits (B, A, H, W) and deltas (B, A*4, H, W)."""
        x = self.rpn_conv(x).relu()
        return self.rpn_cls(x), self.rpn_reg(x)


class BoxHead(nn.Module):
    """Two shared linear layers, then class logits and the box deltas of every class.

    Args:
        in_channels: channels of the neck's maps.
        num_classes: number of classes without the background, which comes last.
        channels: width of the linear layers.
    """

    def __init__(self, in_channels: int, num_classes: int, *, channels: int) -> None:
        super().__init__()
        self.fc_cls = nn.Linear(channels, num_classes + 1)
        self.fc_reg = nn.Linear(channels, num_classes * 4)
        dims = (in_channels * BOX_SIDE**2, channels, channels)
        self.shared_fcs = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(dims))
        self.fc_cls.apply(initialize_head)
        self.fc_reg.apply(initialize_head)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (R, in_channels, 7, 7) to logits (R, num_classes + 1) and deltas (R, 4*num_classes).

        Deltas are class by class.
        """
        x = x.flatten(1)
        for layer in self.shared_fcs:
            x = layer(x).relu()
        return self.fc_cls(x), self.fc_reg(x)


class MaskHead(nn.Module):
    """Convolutions, a transposed one that doubles the size, and a mask for every class."""

    def __init__(self, in_channels: int, num_classes: int, *, channels: int, stacked: int) -> None:
        super().__init__()
        dims = [in_channels] + [channels] * stacked
        self.convs = nn.ModuleList(conv_unit(*pair, 3, has_relu=True) for pair in pairwise(dims))
        self.upsample = nn.ConvTranspose2d(dims[-1], channels, kernel_size=2, stride=2)
        self.conv_logits = nn.Conv2d(channels, num_classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (R, in_channels, 14, 14) to mask logits (R, num_classes, 28, 28)."""
        for conv in self.convs:
            x = conv(x)
        return self.conv_logits(self.upsample(x).relu())


class RoIHead(nn.Module):
    """What is done with proposals: cut them out, classify and move them, and draw their masks.

    Args:
        bbox_head: classes and boxes of the proposals.
        mask_head: masks of the detections.
        config: thresholds and limits.
    """

    def __init__(self, bbox_head: BoxHead, mask_head: MaskHead, config: MaskRCNNConfig) -> None:
        super().__init__()
        self.config = config
        self.bbox_head = bbox_head
        self.mask_head = mask_head
        self.box_cut = RoIAlign(BOX_SIDE, config.anchors.strides[:-1])
        self.mask_cut = RoIAlign(MASK_SIDE, config.anchors.strides[:-1])
        self.suppress = NMS(config.detection_iou, config.max_detections)

    def forward(
        self, levels: Sequence[Tensor], proposals: Tensor, is_proposal: Tensor, image_size: Tensor
    ) -> Instances:
        """Detect in one image.

        Args:
            levels: maps (C, H, W) at strides 4, 8, 16 and 32.
            proposals: boxes (R, 4).
            is_proposal: bool (R,), false in rows without a proposal.
            image_size: (height, width) in pixels.
        """
        cuts = self.box_cut(levels, proposals)
        boxes, scores = self.classify(cuts, proposals, is_proposal, image_size)
        boxes, scores, class_ids = self.select(boxes, scores, self.config.score_threshold)
        masks = self.mask_head(self.mask_cut(levels, boxes))  # (D, num_classes, 28, 28)
        index = class_ids[:, None, None, None].expand(-1, 1, *masks.shape[2:])
        return Instances(boxes, scores, class_ids, masks.gather(1, index).squeeze(1))

    def classify(
        self, cuts: Tensor, proposals: Tensor, is_proposal: Tensor, image_size: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Turn proposals (R, 4) and what is cut out, (R, C, 7, 7), into one box for every class.

        Returns:
            Boxes (num_classes, R, 4), and their scores (num_classes, R).
        """
        logits, deltas = self.bbox_head(cuts)
        scores = logits.softmax(dim=1)[:, :-1].T * is_proposal
        boxes = decode_deltas(proposals[:, None], deltas.unflatten(1, (-1, 4)), BOX_STDS)
        return clip_boxes(boxes, image_size).transpose(0, 1), scores

    def select(
        self, boxes: Tensor, scores: Tensor, score_threshold: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Choose detections from what `classify` gives, those above the threshold.

        Returns:
            Boxes (D, 4), scores (D,) and classes int64 (D,), as `Instances` has them.
        """
        places, kept = self.suppress(boxes, scores * (scores > score_threshold))
        chosen = boxes.flatten(0, 1)[places] * (kept > 0)[:, None]
        return chosen, kept, places // boxes.shape[1]


class MaskRCNN(nn.Module):
    """Backbone, neck, proposals and what is done with them; `mask_rcnn` builds it.

    Args:
        backbone: from images to maps, the finest first.
        neck: from these to maps at the strides of the anchors.
        rpn_head: from one of these to logits and box deltas of its anchors.
        roi_head: from proposals to instances.
        config: anchors, thresholds and limits.
    """

    def __init__(
        self,
        backbone: nn.Module,
        neck: FPN,
        *,
        rpn_head: RPNHead,
        roi_head: RoIHead,
        config: MaskRCNNConfig,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.neck = neck
        self.rpn_head = rpn_head
        self.roi_head = roi_head
        self.suppress = NMS(config.proposal_iou, config.proposals)

    def forward(self, x: Tensor, image_sizes: Tensor | None = None) -> Instances:
        """Run the detector.

        Args:
            x: float (B, 3, H, W), normalized RGB.
            image_sizes: (B, 2), the (height, width) in pixels that each image fills of its
                input, at the upper left, where it is padded; boxes are clipped to it.

        Returns:
            Instances whose parts have the batch as a further first axis.
        """
        levels = self.neck(self.backbone(x))
        if image_sizes is None:
            image_sizes = torch.tensor(x.shape[2:], device=x.device).expand(len(x), 2)
        images = [
            self.detect([level[index, None] for level in levels], image_sizes[index])
            for index in range(len(x))
        ]
        return Instances(*map(torch.stack, zip(*images, strict=True)))

    def detect(self, levels: Sequence[Tensor], image_size: Tensor) -> Instances:
        """Detect in the maps (1, C, H, W) of one image."""
        proposals, scores = self.propose(levels, image_size)
        maps = [level[0] for level in levels[:-1]]
        return self.roi_head(maps, proposals, scores > 0, image_size)

    def propose(self, levels: Sequence[Tensor], image_size: Tensor) -> tuple[Tensor, Tensor]:
        """Choose proposals in the maps (1, C, H, W) of one image.

        Returns:
            Boxes (R, 4) and their scores (R,), the best first; both 0 in rows without a proposal.
        """
        candidates = [
            self.level_candidates(level, stride, image_size)
            for level, stride in zip(levels, self.config.anchors.strides, strict=True)
        ]
        boxes, scores = map(torch.stack, zip(*candidates, strict=True))
        places, scores = self.suppress(boxes, scores)
        return boxes.flatten(0, 1)[places] * (scores > 0)[:, None], scores

    def level_candidates(
        self, level: Tensor, stride: int, image_size: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The best anchors of a level as boxes (N, 4) with scores (N,), 0 for missing ones."""
        logits, deltas = self.rpn_head(level)
        scores = by_anchor(logits, 1).sigmoid().flatten()
        missing = max(0, self.config.candidates - len(scores))
        scores, places = scores.topk(self.config.candidates - missing)
        anchors = level_anchors(self.config.anchors, stride, logits)[places]
        boxes = clip_boxes(decode_deltas(anchors, by_anchor(deltas, 4)[0, places]), image_size)
        scores = scores * (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        return F.pad(boxes, (0, 0, 0, missing)), F.pad(scores, (0, missing))


def mask_rcnn(
    backbone: nn.Module,
    num_classes: int = 80,
    *,
    channels: int = 256,
    box_channels: int = 1024,
    stacked: int = 4,
    config: MaskRCNNConfig = OFFICIAL,
) -> MaskRCNN:
    """Put a freshly initialized neck and heads on a backbone.

    Args:
        backbone: a dense backbone of any family, as `edgevit.models.create_pyramid` gives it.
        num_classes: number of classes without the background.
        channels: channels of the neck and of the mask head; 256 officially.
        box_channels: width of the box head; 1024 officially.
        stacked: convolutions of the mask head; 4 officially.
        config: anchors, thresholds and limits.

    Returns:
        The detector, in training mode.

    Example:
        >>> from edgevit.models import create_pyramid
        >>> small = mask_rcnn(create_pyramid("cas_vit_xs"), 6, channels=64, box_channels=128)
    """
    bbox_head = BoxHead(channels, num_classes, channels=box_channels)
    mask_head = MaskHead(channels, num_classes, channels=channels, stacked=stacked)
    return MaskRCNN(
        backbone,
        four_level_fpn(map_channels(backbone), channels, strided_levels=1),
        rpn_head=RPNHead(channels, config.anchors.per_cell),
        roi_head=RoIHead(bbox_head, mask_head, config),
        config=config,
    )
