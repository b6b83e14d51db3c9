"""LITv2 for inference.

Between layers stand tokens (B, N, C), whose LayerNormalization every runtime has a kernel for. The
convolutions see them as maps (B, C, H, W) behind a permutation that moves no values where a runtime
keeps channels last, and that is part of the entry into a blocked layout where it does not. A
linear layer beside a convolution is therefore a 1x1 convolution: between the two nothing moves.

Batch normalisations, the scale of attention and the order of the offsets are in the weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgevit.export.deploy.fold import (
    children,
    conv_from,
    fold_batchnorm_into_previous,
    linear_from,
    pointwise_from,
)
from edgevit.models import litv2

Size = tuple[int, int]


def to_map(tokens: Tensor, size: Size) -> Tensor:
    """Map tokens (B, H*W, C) to (B, C, H, W)."""
    return tokens.reshape(-1, *size, tokens.shape[-1]).permute(0, 3, 1, 2)


def to_tokens(map_: Tensor) -> Tensor:
    """Undo `to_map`."""
    channels, height, width = map_.shape[1:]
    return map_.permute(0, 2, 3, 1).reshape(-1, height * width, channels)


class DeployMLP(nn.Module):
    """`MLP` with 1x1 convolutions, so that nothing moves around the depthwise one."""

    def __init__(self, mlp: litv2.MLP) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            pointwise_from(mlp.fc1), mlp.dwconv.dwconv, mlp.act, pointwise_from(mlp.fc2)
        )

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        """Keep the shape (B, H*W, C)."""
        return to_tokens(self.layers(to_map(tokens, size)))


class DeployHiLo(nn.Module):
    def __init__(self, attention: litv2.HiLo) -> None:
        super().__init__()
        self.window = attention.window
        self.low_heads, self.high_heads = attention.low_heads, attention.high_heads
        layers = []
        if self.high_heads > 0:
            self.high_dim = attention.h_proj.in_features
            layers.append(_scaled(attention.h_qkv, self.high_dim, self.high_heads))
            self.high_proj = attention.h_proj
        if self.low_heads > 0:
            self.low_dim = attention.l_proj.in_features
            layers.append(_scaled(attention.l_q, self.low_dim, self.low_heads))
            if self.window == 1:
                layers.append(attention.l_kv)
            else:
                self.key_value = pointwise_from(attention.l_kv)
            self.low_proj = attention.l_proj
        self.first = pointwise_from(*layers)

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        """Keep the shape (B, H*W, C)."""
        height, width = size
        right, bottom = -width % self.window, -height % self.window
        x = to_map(tokens, size)
        if right > 0 or bottom > 0:
            x = functional.pad(x, (0, right, 0, bottom))
        first = to_tokens(self.first(x))
        padded = (height + bottom, width + right)
        groups = []
        if self.high_heads > 0:
            high = first[..., : 3 * self.high_dim]
            groups.append(self.high_frequencies(high, padded))
        if self.low_heads > 0:
            if self.window == 1:
                query, key, value = first.chunk(3, dim=-1)
            else:
                query = first[..., -self.low_dim :]
                averages = functional.avg_pool2d(x, self.window)
                key, value = to_tokens(self.key_value(averages)).chunk(2, dim=-1)
            groups.append(self.low_frequencies(query, key, value))
        out = torch.cat(groups, dim=-1) if len(groups) > 1 else groups[0]
        if right > 0 or bottom > 0:
            out = out.reshape(-1, *padded, out.shape[-1])[:, :height, :width]
            out = out.flatten(1, 2)
        return out

    def high_frequencies(self, qkv: Tensor, size: Size) -> Tensor:
        """Attend inside each window: (B, H*W, 3*C') to (B, H*W, C')."""
        rows, columns = (side // self.window for side in size)
        window, heads = self.window, self.high_heads
        qkv = qkv.reshape(-1, rows, window, columns, window, 3, heads, self.high_dim // heads)
        qkv = qkv.permute(5, 0, 1, 3, 6, 2, 4, 7)  # 3, B, rows, columns, heads, w, w, d
        qkv = qkv.reshape(3, -1, window * window, self.high_dim // heads)
        query, key, value = qkv.unbind(0)
        mixed = (query @ key.transpose(-2, -1)).softmax(dim=-1) @ value
        mixed = mixed.reshape(-1, rows, columns, heads, window, window, self.high_dim // heads)
        mixed = mixed.permute(0, 1, 4, 2, 5, 3, 6).reshape(-1, size[0] * size[1], self.high_dim)
        return self.high_proj(mixed)

    def low_frequencies(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        heads, dim = self.low_heads, self.low_dim
        query, key, value = (
            x.reshape(-1, x.shape[1], heads, dim // heads).transpose(1, 2)
            for x in (query, key, value)
        )
        mixed = (query @ key.transpose(-2, -1)).softmax(dim=-1) @ value
        return self.low_proj(mixed.transpose(1, 2).reshape(-1, query.shape[2], dim))


def _scaled(linear: nn.Linear, dim: int, heads: int) -> nn.Linear:
    """`linear` with its first `dim` outputs, the queries, scaled as attention scales scores."""
    scale = torch.ones(linear.out_features, dtype=torch.float64)
    scale[:dim] = (dim // heads) ** -0.5
    weight = linear.weight.double() * scale[:, None]
    bias = None if linear.bias is None else linear.bias.double() * scale
    dtype = linear.weight.dtype
    return linear_from(weight.to(dtype), None if bias is None else bias.to(dtype))


class DeployBlock(nn.Module):
    """A block of either kind, on tokens."""

    def __init__(self, block: litv2.AttentionBlock | litv2.ConvolutionBlock) -> None:
        super().__init__()
        self.has_attention = isinstance(block, litv2.AttentionBlock)
        if isinstance(block, litv2.AttentionBlock):
            self.norm1, self.attn = block.norm1, DeployHiLo(block.attn)
        self.norm2, self.mlp = block.norm2, DeployMLP(block.mlp)

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        """Keep the shape (B, H*W, C)."""
        if self.has_attention:
            tokens = tokens + self.attn(self.norm1(tokens), size)
        return tokens + self.mlp(self.norm2(tokens), size)


class DeployMerging(nn.Module):
    """`DeformableTokenMerging` on tokens, its normalisation in the product's weights."""

    def __init__(self, merging: litv2.DeformableTokenMerging) -> None:
        super().__init__()
        plain = conv_from(merging.dconv.weight, merging.dconv.bias)
        folded = fold_batchnorm_into_previous(plain, merging.norm_layer)
        self.product = linear_from(folded.weight.permute(0, 2, 3, 1).flatten(1), folded.bias)
        self.act = merging.act_layer
        offset = merging.dconv.conv_offset
        assert offset.bias is not None
        # Rows of the four taps, then columns; each twice, for the places on either side.
        order = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7]).repeat_interleave(2)
        self.offset = conv_from(offset.weight[order], offset.bias[order], stride=2)

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        """Map (B, H*W, C) to (B, H/2 * W/2, 2C), sizes rounded down."""
        channels = tokens.shape[-1]
        places, weights = self.corners(self.offset(to_map(tokens, size)).permute(0, 2, 3, 1), size)
        count = size[0] * size[1]
        batch = torch.arange(tokens.shape[0], device=tokens.device) * count
        index = places + batch.view(-1, 1, 1)
        corners = functional.embedding(index, tokens.flatten(0, 1))
        samples = weights.unsqueeze(2) @ corners  # (B, 4*N', 1, C)
        outputs = (size[0] // 2) * (size[1] // 2)
        return self.act(self.product(samples.reshape(-1, outputs, 4 * channels)))

    def corners(self, offsets: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        """The four tokens around each position, int64 indices, and their weights."""
        (height, width), (rows, columns) = size, offsets.shape[1:3]
        tap = torch.arange(4, device=offsets.device).repeat_interleave(2)
        own_rows = 2 * torch.arange(rows, device=offsets.device)[:, None, None] + tap // 2
        own_columns = 2 * torch.arange(columns, device=offsets.device)[:, None] + tap % 2
        own = torch.cat(
            [own_rows.expand(rows, columns, 8), own_columns.expand(rows, columns, 8)], dim=-1
        )
        last = offsets.new_tensor([height - 1] * 8 + [width - 1] * 8)
        side = offsets.new_tensor([0.0, 1.0]).repeat(8)
        positions = offsets + own
        places = positions.floor() + side
        inside = places.clamp(min=0).minimum(last)
        # A place beyond the map is a whole step or more from the nearest inside: weight 0.
        weights = (1 - (positions - places).abs() - (places - inside).abs()).relu()
        shape = (-1, rows * columns, 2, 4, 2)
        row_weights, column_weights = weights.reshape(shape).unbind(2)
        row, column = inside.reshape(shape).unbind(2)
        index = (row * width).unsqueeze(-1) + column.unsqueeze(-2)
        weight = row_weights.unsqueeze(-1) * column_weights.unsqueeze(-2)
        flat = (-1, rows * columns * 4, 4)
        return index.long().reshape(flat), weight.reshape(flat)


class DeployStage(nn.Module):
    """Blocks at one resolution, then the merging that leads to the next stage."""

    def __init__(self, stage: litv2.Stage) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(map(DeployBlock, children(stage.blocks)))
        merging = stage.downsample
        has_merging = isinstance(merging, litv2.DeformableTokenMerging)
        self.merging = DeployMerging(merging) if has_merging else None

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens, size)
        return tokens


class DeployBackbone(nn.Module):
    """Patch embedding and stages on tokens."""

    def __init__(self, model: litv2.LITv2Backbone) -> None:
        super().__init__()
        self.proj, self.norm = model.patch_embed.proj, model.patch_embed.norm
        self.stages = nn.ModuleList(map(DeployStage, model.layers))

    def forward(self, x: Tensor) -> list[tuple[Tensor, Size]]:
        """Map images (B, 3, H, W) to the four stages' tokens and sizes."""
        x = self.proj(x)
        size = (x.shape[2], x.shape[3])
        tokens = self.norm(to_tokens(x))
        features = []
        for stage in self.stages:
            tokens = stage(tokens, size)
            features.append((tokens, size))
            if stage.merging is not None:
                tokens = stage.merging(tokens, size)
                size = (size[0] // 2, size[1] // 2)
        return features


class LITv2(nn.Module):
    """`litv2.LITv2` for inference."""

    def __init__(self, model: litv2.LITv2, input_size: Size) -> None:
        super().__init__()
        self.step = model.config.size_step
        self.backbone = DeployBackbone(model)
        self.norm, self.head = model.norm, model.head

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, num_classes)."""
        litv2.check_size(x.shape[-2], x.shape[-1], self.step)
        tokens, _ = self.backbone(x)[-1]
        return self.head(self.norm(tokens).mean(dim=1))
