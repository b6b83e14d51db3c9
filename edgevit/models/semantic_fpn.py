"""Semantic FPN: segmentation by a pyramid whose levels are all brought to stride 4 and summed.

Paper: Kirillov et al., "Panoptic Feature Pyramid Networks", arXiv:1901.02446.
Repositories: github.com/open-mmlab/mmsegmentation (Apache-2.0),
`mmseg/models/decode_heads/fpn_head.py`, as configured by github.com/Tianfang-Zhang/CAS-ViT (MIT)
and github.com/ziplab/LITv2 (Apache-2.0). Written anew from the paper and the published state-dict
keys; parameter names are the official ones, so official checkpoints load strictly.

Differences from upstream:
    - LightViT, which has no official Semantic FPN, gets its stride-4 level from the neck of its
      detectors.
    - Plain BatchNorm instead of the synchronized one: the same keys, the same arithmetic.
    - The logits stay at stride 4; enlarging them to the image is left to whoever uses them.
"""

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from edgevit.models.fpn import FPN, conv_unit, four_level_fpn, initialize_head, map_channels

DROPOUT = 0.1  # of whole channels before the last convolution, in training


def scale_head(in_channels: int, channels: int, doublings: int) -> nn.Sequential:
    """3x3 convolutions, a bilinear enlargement by two after each while `doublings` remain."""
    layers: list[nn.Module] = []
    for step in range(max(1, doublings)):
        dim = in_channels if step == 0 else channels
        layers.append(conv_unit(dim, channels, 3, has_norm=True, has_relu=True))
        if step < doublings:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*layers)


class FPNHead(nn.Module):
    """Bring four levels to the finest one's size, sum them and classify every place.

    Args:
        in_channels: channels of the neck's maps.
        num_classes: number of classes.
        channels: channels between.
    """

    def __init__(self, in_channels: int, num_classes: int, *, channels: int) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, num_classes, kernel_size=1)
        self.dropout = nn.Dropout2d(DROPOUT)
        self.scale_heads = nn.ModuleList(
            scale_head(in_channels, channels, doublings) for doublings in range(4)
        )
        self.conv_seg.apply(initialize_head)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map four levels (B, in_channels, h, w), the finest first, to logits of its size.

        Each level is about half as large as the one before; where rounding made it otherwise, its
        enlarged form is resized.
        """
        total, *others = (head(level) for head, level in zip(self.scale_heads, levels, strict=True))
        for other in others:
            total = total + F.interpolate(
                other, size=total.shape[2:], mode="bilinear", align_corners=False
            )
        return self.conv_seg(self.dropout(total))


class SemanticFPN(nn.Module):
    """Backbone, neck and head; `semantic_fpn` builds it.

    Args:
        backbone: from images to maps, the finest first.
        neck: from these to maps at strides 4, 8, 16 and 32.
        decode_head: from these to logits.
    """

    def __init__(self, backbone: nn.Module, neck: FPN, decode_head: FPNHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.decode_head = decode_head

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W), normalized RGB, to logits (B, num_classes, H/4, W/4).

        The size is that of the finest map. Upstream enlarges the logits to the input's size with
        `interpolate(mode="bilinear", align_corners=False)`.
        """
        return self.decode_head(self.neck(self.backbone(x)))


def semantic_fpn(
    backbone: nn.Module, num_classes: int = 150, *, channels: int = 256, head_channels: int = 128
) -> SemanticFPN:
    """Put a freshly initialized neck and head on a backbone.

    Args:
        backbone: a dense backbone of any family, as `edgevit.models.create_pyramid` gives it;
            LITv2's official segmenters have the one with `has_norm0`.
        num_classes: number of classes.
        channels: channels of the neck; 256 officially.
        head_channels: channels of the head; 128 officially.

    Returns:
        The segmenter, in training mode.

    Example:
        >>> from edgevit.models import create_pyramid
        >>> small = semantic_fpn(create_pyramid("cas_vit_xs"), 11, channels=64, head_channels=64)
    """
    neck = four_level_fpn(map_channels(backbone), channels)
    return SemanticFPN(backbone, neck, FPNHead(channels, num_classes, channels=head_channels))
