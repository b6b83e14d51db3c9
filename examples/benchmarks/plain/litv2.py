"""LITv2 with the forward pass of the official code: what its user exports without `edgevit`.

Tokens (B, N, C) between the layers, NCHW around the depthwise convolution, queries apart from keys
and values, as in `classification/models` of github.com/ziplab/LITv2. Its deformable convolution is
a CUDA extension; a bilinear sampling of each tap and a 1x1 convolution take its place.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgevit.models import litv2


def to_map(x: Tensor) -> Tensor:
    """Map tokens (B, N, C) to (B, C, H, W); images are square, as in the official code."""
    batch, count, channels = x.shape
    side = math.isqrt(int(count))
    return x.transpose(1, 2).reshape(batch, channels, side, side)


def to_tokens(x: Tensor) -> Tensor:
    """Undo `to_map`."""
    return x.flatten(2).transpose(1, 2)


class PlainHiLo(nn.Module):
    """`HiLo` of the classification code, on tokens of a square map."""

    def __init__(self, attention: litv2.HiLo) -> None:
        super().__init__()
        self.attention = attention
        self.pool = nn.AvgPool2d(attention.window, attention.window)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, N, C)."""
        batch, count, channels = x.shape
        side = math.isqrt(int(count))
        x = x.reshape(batch, side, side, channels)
        branches = []
        if self.attention.high_heads > 0:
            branches.append(self.high_frequencies(x))
        if self.attention.low_heads > 0:
            branches.append(self.low_frequencies(x))
        return torch.cat(branches, dim=-1).reshape(batch, count, channels)

    def high_frequencies(self, x: Tensor) -> Tensor:
        """Attend inside each window: (B, H, W, C) to (B, H, W, C * high share)."""
        batch, height, width, channels = x.shape
        window, heads = self.attention.window, self.attention.high_heads
        rows, columns = height // window, width // window
        x = x.reshape(batch, rows, window, columns, window, channels).transpose(2, 3)
        qkv = self.attention.h_qkv(x).reshape(batch, rows * columns, window**2, 3, heads, -1)
        mixed = attend(*qkv.permute(3, 0, 1, 4, 2, 5)).transpose(2, 3)
        mixed = mixed.reshape(batch, rows, columns, window, window, -1).transpose(2, 3)
        return self.attention.h_proj(mixed.reshape(batch, height, width, -1))

    def low_frequencies(self, x: Tensor) -> Tensor:
        """Attend to the windows' averages: (B, H, W, C) to (B, H, W, C * low share)."""
        batch, height, width, channels = x.shape
        heads = self.attention.low_heads
        query = self.attention.l_q(x).reshape(batch, height * width, heads, -1)
        if self.attention.window > 1:
            x = self.pool(x.permute(0, 3, 1, 2)).reshape(batch, channels, -1).permute(0, 2, 1)
        key_value = self.attention.l_kv(x).reshape(batch, -1, 2, heads, query.shape[-1])
        mixed = attend(query.permute(0, 2, 1, 3), *key_value.permute(2, 0, 3, 1, 4))
        return self.attention.l_proj(mixed.transpose(1, 2).reshape(batch, height, width, -1))


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention over the last two axes."""
    scores = (query @ key.transpose(-2, -1)) * query.shape[-1] ** -0.5
    return scores.softmax(dim=-1) @ value


class PlainMLP(nn.Module):
    """`DWMlp`: NCHW around the depthwise convolution."""

    def __init__(self, mlp: litv2.MLP) -> None:
        super().__init__()
        self.fc1, self.dwconv, self.act, self.fc2 = mlp.fc1, mlp.dwconv.dwconv, mlp.act, mlp.fc2

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, N, C)."""
        return self.fc2(self.act(to_tokens(self.dwconv(to_map(self.fc1(x))))))


class PlainBlock(nn.Module):
    """`Block` and `ConvFFNBlock`."""

    def __init__(self, block: litv2.AttentionBlock | litv2.ConvolutionBlock) -> None:
        super().__init__()
        self.has_attention = isinstance(block, litv2.AttentionBlock)
        if isinstance(block, litv2.AttentionBlock):
            self.norm1, self.attn = block.norm1, PlainHiLo(block.attn)
        self.norm2, self.mlp = block.norm2, PlainMLP(block.mlp)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, N, C)."""
        if self.has_attention:
            x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PlainMerging(nn.Module):
    """`DTM`, each tap of its deformable convolution sampled on its own."""

    def __init__(self, merging: litv2.DeformableTokenMerging) -> None:
        super().__init__()
        self.offset, self.bias = merging.dconv.conv_offset, merging.dconv.bias
        weight = merging.dconv.weight.permute(0, 2, 3, 1).flatten(1)  # (2C, 4C), tap by tap
        self.weight = nn.Parameter(weight[:, :, None, None].contiguous())
        self.norm, self.act = merging.norm_layer, merging.act_layer

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, C) to (B, N/4, 2C)."""
        x = to_map(x)
        height, width = x.shape[2:]
        offsets = self.offset(x)  # (B, 8, H/2, W/2): row and column of each tap
        rows = torch.arange(0, int(height), 2, dtype=x.dtype)[:, None]
        columns = torch.arange(0, int(width), 2, dtype=x.dtype)
        taps = []
        for tap in range(4):
            row = rows + tap // 2 + offsets[:, 2 * tap]
            column = columns + tap % 2 + offsets[:, 2 * tap + 1]
            grid = torch.stack([2 * column / (width - 1) - 1, 2 * row / (height - 1) - 1], dim=-1)
            taps.append(functional.grid_sample(x, grid, padding_mode="zeros", align_corners=True))
        x = functional.conv2d(torch.cat(taps, dim=1), self.weight, self.bias)
        return to_tokens(self.act(self.norm(x)))


class PlainLITv2(nn.Module):
    """The classifier."""

    def __init__(self, model: litv2.LITv2) -> None:
        super().__init__()
        self.proj, self.patch_norm = model.patch_embed.proj, model.patch_embed.norm
        self.layers = nn.Sequential()
        for stage in model.layers:
            self.layers.extend(map(PlainBlock, stage.blocks))
            if isinstance(stage.downsample, litv2.DeformableTokenMerging):
                self.layers.append(PlainMerging(stage.downsample))
        self.norm, self.pool, self.head = model.norm, nn.AdaptiveAvgPool1d(1), model.head

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, H) to logits (B, num_classes)."""
        x = self.layers(self.patch_norm(to_tokens(self.proj(x))))
        return self.head(self.pool(self.norm(x).transpose(1, 2)).flatten(1))


class PlainPyramid(nn.Module):
    """The dense backbone, for maps that the windows divide."""

    def __init__(self, model: litv2.LITv2Pyramid) -> None:
        super().__init__()
        self.proj, self.patch_norm = model.patch_embed.proj, model.patch_embed.norm
        self.stages = nn.ModuleList(
            nn.Sequential(*map(PlainBlock, stage.blocks)) for stage in model.layers
        )
        self.merges = nn.ModuleList(PlainMerging(stage.downsample) for stage in model.layers[:-1])
        self.norms = nn.ModuleList([model.norm0, model.norm1, model.norm2, model.norm3])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, H) to maps at strides 4, 8, 16 and 32."""
        x = self.patch_norm(to_tokens(self.proj(x)))
        outputs = []
        for index, (stage, norm) in enumerate(zip(self.stages, self.norms, strict=True)):
            x = stage(x if index == 0 else self.merges[index - 1](x))
            outputs.append(to_map(norm(x)))
        return outputs


PLAIN: dict[type[nn.Module], Callable[..., nn.Module]] = {
    litv2.LITv2: PlainLITv2,
    litv2.LITv2Pyramid: PlainPyramid,
}


def plain(model: nn.Module) -> nn.Module:
    """The module with the official forward pass; it shares the weights of `model`.

    Args:
        model: an `edgevit.models.litv2.LITv2` or `LITv2Pyramid` in eval mode.

    Returns:
        A module from square images (B, 3, H, H) to the same logits or maps.
    """
    return PLAIN[type(model)](model).eval()
