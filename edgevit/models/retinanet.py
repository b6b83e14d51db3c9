"""RetinaNet: one-stage detection on any of the dense backbones.

Paper: Lin et al., "Focal Loss for Dense Object Detection", arXiv:1708.02002.
Repositories: github.com/open-mmlab/mmdetection (Apache-2.0),
`mmdet/models/dense_heads/retina_head.py`, as configured by github.com/Tianfang-Zhang/CAS-ViT (MIT)
and github.com/ziplab/LITv2 (Apache-2.0). Written anew from the paper and the published state-dict
keys; parameter names are the official ones, so official checkpoints load strictly.

Differences from upstream:
    - Backbone, neck and head give class logits and box deltas for every level. The choice of the
      best, decoding and suppression are left to whoever uses them.
    - Channels of the neck and the head and the number of stacked convolutions are arguments.
"""

import math
from itertools import pairwise

from torch import Tensor, nn

from edgevit.core.model.heads import AnchorGrid
from edgevit.models.fpn import FPN, conv_unit, initialize_head, map_channels

ANCHORS = AnchorGrid(
    strides=(8, 16, 32, 64, 128),
    ratios=(0.5, 1.0, 2.0),
    scales=tuple(4 * 2 ** (third / 3) for third in range(3)),
)
PRIOR = 0.01  # the score of every anchor before training


def stacked_convs(in_channels: int, channels: int, count: int) -> nn.ModuleList:
    """3x3 convolutions one after the other, a ReLU after each."""
    dims = [in_channels] + [channels] * count
    return nn.ModuleList(conv_unit(*pair, 3, has_relu=True) for pair in pairwise(dims))


class RetinaHead(nn.Module):
    """Two towers of convolutions, shared by all levels: class logits and box deltas.

    Args:
        in_channels: channels of the neck's maps.
        num_classes: number of classes; there is no background class.
        num_anchors: anchors at a place.
        channels: channels of the towers.
        stacked: convolutions in each tower.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        num_anchors: int,
        channels: int,
        stacked: int,
    ) -> None:
        super().__init__()
        self.cls_convs = stacked_convs(in_channels, channels, stacked)
        self.reg_convs = stacked_convs(in_channels, channels, stacked)
        last = channels if stacked > 0 else in_channels
        self.retina_cls = nn.Conv2d(last, num_anchors * num_classes, kernel_size=3, padding=1)
        self.retina_reg = nn.Conv2d(last, num_anchors * 4, kernel_size=3, padding=1)
        self.apply(initialize_head)
        nn.init.constant_(self.retina_cls.get_parameter("bias"), -math.log((1 - PRIOR) / PRIOR))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, in_channels, H, W) to logits (B, A*num_classes, H, W) and deltas (B, A*4, H, W).

        Anchor by anchor, and within one class by class; sigmoids of the logits are the scores.
        """
        classes = boxes = x
        for conv in self.cls_convs:
            classes = conv(classes)
        for conv in self.reg_convs:
            boxes = conv(boxes)
        return self.retina_cls(classes), self.retina_reg(boxes)


class RetinaNet(nn.Module):
    """Backbone, neck and head; `retinanet` builds it.

    Args:
        backbone: from images to maps, the finest first.
        neck: from the backbone's maps at strides 8, 16 and 32 to one map for each stride of
            `anchors`.
        bbox_head: from one of these to class logits and box deltas.
        anchors: shapes of the anchors that the deltas move.
    """

    def __init__(
        self, backbone: nn.Module, neck: FPN, bbox_head: RetinaHead, anchors: AnchorGrid
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.bbox_head = bbox_head
        self.anchors = anchors

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Run the detector.

        Args:
            x: float (B, 3, H, W), normalized RGB.

        Returns:
            Class logits (B, A*num_classes, h, w) and box deltas (B, A*4, h, w) at strides 8, 16,
            32, 64 and 128. `by_anchor`, `level_anchors` and `decode_deltas` of
            `edgevit.models.boxes` turn them into boxes.
        """
        maps = self.backbone(x)[-3:]  # a finer one, where there is one, is not used
        outputs = [self.bbox_head(level) for level in self.neck(maps)]
        return [logits for logits, _ in outputs], [deltas for _, deltas in outputs]


def retinanet(
    backbone: nn.Module,
    num_classes: int = 80,
    *,
    channels: int = 256,
    stacked: int = 4,
    anchors: AnchorGrid = ANCHORS,
) -> RetinaNet:
    """Put a freshly initialized neck and head on a backbone.

    Args:
        backbone: a dense backbone of any family, as `edgevit.models.create_pyramid` gives it.
        num_classes: number of classes; there is no background class.
        channels: channels of the neck and of the head; 256 officially.
        stacked: convolutions in each tower of the head; 4 officially.
        anchors: shapes of the anchors, for five levels.

    Returns:
        The detector, in training mode.

    Example:
        >>> from edgevit.models import create_pyramid
        >>> small = retinanet(create_pyramid("cas_vit_xs"), 6, channels=64, stacked=2)
    """
    neck = FPN(map_channels(backbone)[-3:], channels, conv_levels=2)
    head = RetinaHead(
        channels, num_classes, num_anchors=anchors.per_cell, channels=channels, stacked=stacked
    )
    return RetinaNet(backbone, neck, head, anchors)
