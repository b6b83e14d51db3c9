"""FPN: feature pyramid networks, the necks between a dense backbone and a head.

Papers: Lin et al., "Feature Pyramid Networks for Object Detection", arXiv:1612.03144; the finer
level of `LightViTFPN`: Huang et al., arXiv:2207.05557.
Repositories: github.com/open-mmlab/mmdetection (Apache-2.0), `mmdet/models/necks/fpn.py`, and
github.com/hunto/LightViT (Apache-2.0), `detection/`. Written anew from the papers and the published
state-dict keys; parameter names are the official ones, so official checkpoints load strictly.

Differences from upstream:
    - Only what the detectors and segmenters of the three families use: no normalization, further
      levels by convolutions on the backbone's last map or by striding over the neck's own.
    - The caller passes the maps to merge; there is no start or end level.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def conv_unit(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    has_norm: bool = False,
    has_relu: bool = False,
) -> nn.Sequential:
    """A convolution named `conv`, a BatchNorm `bn` and a ReLU where asked for.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: side of the odd kernel; the input is padded by half of it.
        stride: step of the kernel.
        has_norm: whether a BatchNorm follows, which makes the convolution's bias useless.
        has_relu: whether it ends in a ReLU.
    """
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        bias=not has_norm,
    )
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
    if has_norm:
        layers["bn"] = nn.BatchNorm2d(out_channels)
    if has_relu:
        layers["activate"] = nn.ReLU()
    return nn.Sequential(layers)


def map_channels(backbone: nn.Module) -> tuple[int, ...]:
    """Channels of the maps that a dense backbone of this package gives, the finest first."""
    config: Any = backbone.config  # PyTorch types a module's attributes as tensors or modules
    return tuple(config.dims)


def initialize_neck(module: nn.Module) -> None:
    """Start a convolution as upstream's necks do: Xavier's uniform weights, no bias."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def initialize_head(module: nn.Module) -> None:
    """Start a convolution or linear layer as upstream's heads do: small weights, no bias."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class FPN(nn.Module):
    """Bring maps to one width, add coarser ones to finer ones from the top down, and smooth.

    Args:
        in_channels: channels of the maps, the finest first.
        channels: channels of every output.
        conv_levels: further levels, each by a strided convolution: the first on the coarsest
            input map, the others on the level before.
        strided_levels: further levels, each every second place of the level before.

    Example:
        >>> neck = FPN((8, 16), channels=4, conv_levels=1)
        >>> [tuple(x.shape) for x in neck([torch.zeros(1, 8, 6, 6), torch.zeros(1, 16, 3, 3)])]
        [(1, 4, 6, 6), (1, 4, 3, 3), (1, 4, 2, 2)]
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 256,
        *,
        conv_levels: int = 0,
        strided_levels: int = 0,
    ) -> None:
        super().__init__()
        self.strided_levels = strided_levels
        self.lateral_convs = nn.ModuleList(conv_unit(dim, channels, 1) for dim in in_channels)
        self.fpn_convs = nn.ModuleList(conv_unit(channels, channels, 3) for _ in in_channels)
        for level in range(conv_levels):
            dim = in_channels[-1] if level == 0 else channels
            self.fpn_convs.append(conv_unit(dim, channels, 3, stride=2))
        self.apply(initialize_neck)

    def merge(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map (B, in_channels[i], H, W) each to (B, channels, H, W), with the coarser ones added.

        A coarser map is enlarged to the finer one's size, whatever it is, by its nearest places.
        """
        merged = [conv(x) for conv, x in zip(self.lateral_convs, maps, strict=True)]
        for level in range(len(merged) - 1, 0, -1):
            size = merged[level - 1].shape[2:]
            enlarged = F.interpolate(merged[level], size=size, mode="nearest")
            merged[level - 1] = merged[level - 1] + enlarged
        return merged

    def levels(self, merged: Sequence[Tensor], coarsest: Tensor) -> list[Tensor]:
        """Smooth the merged maps and add the further levels; `coarsest` is the last input map."""
        outputs = [conv(x) for conv, x in zip(self.fpn_convs, merged, strict=False)]
        source = coarsest
        for conv in self.fpn_convs[len(merged) :]:
            source = conv(source)
            outputs.append(source)
        for _ in range(self.strided_levels):
            outputs.append(F.max_pool2d(outputs[-1], kernel_size=1, stride=2))
        return outputs

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map (B, in_channels[i], H, W) each to (B, channels, H, W) each, the finest first.

        A further level has half the size of the level before, rounded up.
        """
        return self.levels(self.merge(maps), maps[-1])


class LightViTFPN(FPN):
    """An FPN whose first output is finer than any input: twice the height and width.

    It is a 2x2 transposed convolution of the finest merged map, smoothed like the others.

    Args:
        in_channels: channels of the maps, the finest first.
        channels: channels of every output.
        strided_levels: further levels, each every second place of the level before.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int = 256, *, strided_levels: int = 0
    ) -> None:
        super().__init__(in_channels, channels, strided_levels=strided_levels)
        enlarge = nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)
        self.extra_trans_convs = nn.ModuleList([nn.Sequential(OrderedDict(conv=enlarge))])
        self.extra_fpn_convs = nn.ModuleList([conv_unit(channels, channels, 3)])
        self.extra_trans_convs.apply(initialize_neck)
        self.extra_fpn_convs.apply(initialize_neck)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Map (B, in_channels[i], H, W) each to (B, channels, H, W) each, the finest first."""
        merged = self.merge(maps)
        finest = self.extra_fpn_convs[0](self.extra_trans_convs[0](merged[0]))
        return [finest, *self.levels(merged, maps[-1])]


def four_level_fpn(
    in_channels: Sequence[int], channels: int = 256, *, strided_levels: int = 0
) -> FPN:
    """A neck with outputs at strides 4, 8, 16 and 32, whichever family the maps come from.

    Args:
        in_channels: of maps at strides 4, 8, 16 and 32, or at 8, 16 and 32.
        channels: channels of every output.
        strided_levels: levels beyond stride 32.
    """
    build = LightViTFPN if len(in_channels) == 3 else FPN
    return build(in_channels, channels, strided_levels=strided_levels)
