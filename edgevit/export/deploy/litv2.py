"""LITv2 for inference.

Between layers stand tokens (B, N, C), which LayerNormalization takes as they are. Every product
beside a convolution is a 1x1 convolution of a map (B, C, H, W). The permutation between tokens and
map moves no values in a runtime that keeps channels last, and is part of the entry into the layout
of one that blocks channels: so nothing of 4C channels is ever transposed. The permutation has four
axes and a reshape on the tokens' side: of the equivalent forms only this one is free everywhere.

Batch normalizations, the scale of attention, the affine part of the normalization before an MLP and
the order of the offsets are in the weights.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgevit.export.deploy import fold
from edgevit.models import litv2

Size = tuple[int, int]


def to_map(tokens: Tensor, size: Size) -> Tensor:
    """Map tokens (B, H*W, C) to (B, C, H, W)."""
    return tokens.reshape(-1, *size, tokens.shape[-1]).permute(0, 3, 1, 2)


def to_tokens(x: Tensor) -> Tensor:
    """Map (B, C, H, W) to tokens (B, H*W, C)."""
    channels, height, width = x.shape[1:]
    return x.permute(0, 2, 3, 1).reshape(-1, height * width, channels)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of queries (..., N, D), already scaled, to keys and values (..., M, D)."""
    return (query @ key.transpose(-2, -1)).softmax(dim=-1) @ value


def attend_in_heads(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """`attend` on tokens (B, N, heads*D), (B, M, heads*D) and (B, M, heads*D)."""
    query, key, value = (
        x.reshape(-1, x.shape[1], heads, x.shape[2] // heads).transpose(1, 2)
        for x in (query, key, value)
    )
    return attend(query, key, value).transpose(1, 2).flatten(2)  # (B, N, heads*D)


class DeployMLP(nn.Module):
    """Normalization and `MLP` of a block, as convolutions."""

    def __init__(self, norm: nn.LayerNorm, mlp: litv2.MLP) -> None:
        super().__init__()
        self.norm, first = fold.without_affine(norm), fold.fold_layernorm_into_next(norm, mlp.fc1)
        self.layers = nn.Sequential(
            fold.pointwise_from(first), mlp.dwconv.dwconv, mlp.act, fold.pointwise_from(mlp.fc2)
        )

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        """Keep the shape (B, H*W, C)."""
        return to_tokens(self.layers(to_map(self.norm(tokens), size)))


class HighFrequencies(nn.Module):
    """Attention inside each window, on tokens."""

    def __init__(self, attention: litv2.HiLo) -> None:
        super().__init__()
        self.window, self.heads = attention.window, attention.high_heads
        out_dim = attention.h_proj.in_features
        self.dim = out_dim // self.heads
        self.qkv = fold.scale_outputs(attention.h_qkv, out_dim, self.dim**-0.5)
        self.proj = attention.h_proj

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        """Map (B, H*W, C) to (B, H*W, C'); height and width are multiples of the window."""
        rows, columns = (side // self.window for side in size)
        windows = (-1, rows, self.window, columns, self.window)
        x = self.qkv(tokens).reshape(*windows, 3, self.heads, self.dim)
        x = x.permute(5, 0, 1, 3, 6, 2, 4, 7)  # (3, B, rows, columns, heads, window, window, dim)
        mixed = attend(*x.reshape(3, -1, self.window**2, self.dim).chunk(3))
        mixed = mixed.reshape(-1, rows, columns, self.heads, self.window, self.window, self.dim)
        mixed = mixed.permute(0, 1, 4, 2, 5, 3, 6)  # (B, rows, window, columns, window, heads, dim)
        return self.proj(mixed.reshape(-1, tokens.shape[1], self.heads * self.dim))


class LowFrequencies(nn.Module):
    """Attention of every token to the windows' averages, on tokens.

    Only the averages are a map: a depthwise convolution, whose layout is that of the 1x1
    convolutions to keys and values. Linear layers take the tokens as they are.
    """

    def __init__(self, attention: litv2.HiLo) -> None:
        super().__init__()
        self.heads, self.proj = attention.low_heads, attention.l_proj
        out_dim, in_dim = attention.l_q.weight.shape
        self.query = fold.scale_outputs(attention.l_q, out_dim, (out_dim // self.heads) ** -0.5)
        window, dtype = attention.window, attention.l_q.weight.dtype
        weight = torch.full((in_dim, 1, window, window), window**-2, dtype=dtype)
        self.average = fold.conv_from(weight, None, groups=in_dim, stride=window)
        self.key, self.value = _halves(fold.pointwise_from(attention.l_kv))

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        """Map (B, H*W, C) to (B, H*W, C'); height and width are multiples of the window."""
        averages = self.average(to_map(tokens, size))
        key, value = to_tokens(self.key(averages)), to_tokens(self.value(averages))
        return self.proj(attend_in_heads(self.query(tokens), key, value, self.heads))


class FullAttention(nn.Module):
    """`HiLo` with windows of one token: attention of all to all, as convolutions."""

    def __init__(self, attention: litv2.HiLo) -> None:
        super().__init__()
        self.heads = attention.low_heads
        dim = attention.l_q.out_features
        self.query = fold.pointwise_from(
            fold.scale_outputs(attention.l_q, dim, (dim // self.heads) ** -0.5)
        )
        self.key, self.value = _halves(fold.pointwise_from(attention.l_kv))
        self.proj = fold.pointwise_from(attention.l_proj)

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        """Keep the shape (B, H*W, C)."""
        x = to_map(tokens, size)
        query, key, value = (to_tokens(conv(x)) for conv in (self.query, self.key, self.value))
        mixed = attend_in_heads(query, key, value, self.heads)
        return to_tokens(self.proj(to_map(mixed, size)))


def _halves(conv: nn.Conv2d) -> tuple[nn.Conv2d, nn.Conv2d]:
    """The first and the second half of a convolution's outputs, as one convolution each."""
    weights = conv.weight.chunk(2)
    biases = (None, None) if conv.bias is None else conv.bias.chunk(2)
    first, second = (fold.conv_from(*pair) for pair in zip(weights, biases, strict=True))
    return first, second


class DeployHiLo(nn.Module):
    """`HiLo` on tokens (B, H*W, C), with each group of heads that it has."""

    def __init__(self, attention: litv2.HiLo) -> None:
        super().__init__()
        self.window = attention.window
        groups: list[nn.Module] = []
        if attention.high_heads > 0:
            groups.append(HighFrequencies(attention))
        if attention.low_heads > 0:
            kind = FullAttention if self.window == 1 else LowFrequencies
            groups.append(kind(attention))
        self.groups = nn.ModuleList(groups)

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        """Keep the shape (B, H*W, C)."""
        height, width = size
        right, bottom = -width % self.window, -height % self.window
        if right == 0 and bottom == 0:
            return self.mixed(tokens, size)
        x = tokens.reshape(-1, *size, tokens.shape[-1])
        x = functional.pad(x, (0, 0, 0, right, 0, bottom))
        padded = (height + bottom, width + right)
        x = self.mixed(x.flatten(1, 2), padded).reshape(-1, *padded, x.shape[-1])
        return x[:, :height, :width].flatten(1, 2)

    def mixed(self, tokens: Tensor, size: Size) -> Tensor:
        """Keep the shape (B, H*W, C); height and width are multiples of the window."""
        outputs = [group(tokens, size) for group in self.groups]
        return torch.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0]


class DeployBlock(nn.Module):
    """A block of either kind, on tokens."""

    def __init__(self, block: litv2.AttentionBlock | litv2.ConvolutionBlock) -> None:
        super().__init__()
        self.has_attention = isinstance(block, litv2.AttentionBlock)
        if isinstance(block, litv2.AttentionBlock):
            # Its affine part stays: the zeros that fill windows must not pass through it.
            self.norm, self.attn = block.norm1, DeployHiLo(block.attn)
        self.mlp = DeployMLP(block.norm2, block.mlp)

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        """Keep the shape (B, H*W, C)."""
        if self.has_attention:
            tokens = tokens + self.attn(self.norm(tokens), size)
        return tokens + self.mlp(tokens, size)


class DeployMerging(nn.Module):
    """`DeformableTokenMerging` on tokens.

    The tokens around a position are gathered as rows, and weighted by a product with them. A token
    beyond the map has weight 0.
    """

    def __init__(self, merging: litv2.DeformableTokenMerging) -> None:
        super().__init__()
        plain = fold.conv_from(merging.dconv.weight, merging.dconv.bias)
        folded = fold.fold_batchnorm_into_previous(plain, merging.norm_layer)
        weight = folded.weight.permute(0, 2, 3, 1).flatten(1)
        self.product = fold.linear_from(weight, folded.bias, weight.dtype)
        self.act = merging.act_layer
        offset = merging.dconv.conv_offset
        assert offset.bias is not None
        # The four taps' rows, then their columns; each four times, for the tokens around it.
        order = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7]).repeat_interleave(4)
        self.offset = fold.conv_from(offset.weight[order], offset.bias[order], stride=2)

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        """Map (B, H*W, C) to (B, H/2 * W/2, 2C), sizes rounded down."""
        batch, count, channels = tokens.shape
        offsets = self.offset(to_map(tokens, size)).permute(0, 2, 3, 1)  # (B, H/2, W/2, 32)
        index, weights = around(offsets, size)
        first = torch.arange(batch, device=tokens.device).view(-1, 1, 1) * count
        # A look-up of embeddings rather than indexing, which would export as GatherND.
        rows = functional.embedding(index + first, tokens.reshape(-1, channels))
        samples = weights.unsqueeze(2) @ rows  # (B, H/2*W/2*4, 1, C)
        outputs = (size[0] // 2) * (size[1] // 2)
        return self.act(self.product(samples.reshape(-1, outputs, 4 * channels)))


def around(offsets: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """The tokens around the positions that a deformable convolution reads, and their weights.

    Args:
        offsets: (B, H/2, W/2, 32): rows and columns of four taps, each four times.
        size: height and width of the map.

    Returns:
        Numbers of the tokens, int64, and weights, (B, H/2*W/2*4, 4) both.
    """
    (height, width), (rows, columns) = size, offsets.shape[1:3]
    limits = offsets.new_tensor([height - 1, width - 1]).repeat_interleave(16)
    further = offsets.new_tensor([[0, 0, 1, 1] * 4, [0, 1, 0, 1] * 4]).flatten()
    positions = offsets + offsets.new_tensor(_taps(rows, columns))
    places = positions.floor() + further
    inside = places.clamp(min=0).minimum(limits)
    # A place beyond the map is a whole step or more from the nearest one inside: weight 0.
    weights = (1 - (positions - places).abs() - (places - inside).abs()).relu()
    row_weights, column_weights = weights.chunk(2, dim=-1)
    row, column = inside.chunk(2, dim=-1)
    shape = (-1, rows * columns * 4, 4)
    index = row.long() * width + column.long()  # not a float, which is inexact from 2**24 on
    return index.reshape(shape), (row_weights * column_weights).reshape(shape)


def _taps(rows: int, columns: int) -> list[list[list[int]]]:
    """Where the taps of a 2x2 convolution of stride 2 stand, in the order of the offsets.

    Numbers rather than tensors, so that the exporter writes one constant of any size.
    """
    row_of, column_of = ([tap // 2 for tap in range(4)], [tap % 2 for tap in range(4)])
    return [
        [
            [2 * row + tap for tap in row_of for _ in range(4)]
            + [2 * column + tap for tap in column_of for _ in range(4)]
            for column in range(columns)
        ]
        for row in range(rows)
    ]


class DeployLayer(nn.Module):
    """`HiLo` or `DeformableTokenMerging` on its own, on channels-last maps as there."""

    def __init__(self, layer: litv2.HiLo | litv2.DeformableTokenMerging, input_size: Size) -> None:
        super().__init__()
        self.stride = 1 if isinstance(layer, litv2.HiLo) else 2
        self.layer = DeployHiLo(layer) if isinstance(layer, litv2.HiLo) else DeployMerging(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) as the module does."""
        height, width = x.shape[1:3]
        tokens = self.layer(x.flatten(1, 2), (height, width))
        size = (height // self.stride, width // self.stride)
        return tokens.reshape(-1, *size, tokens.shape[-1])


class DeployStage(nn.Module):
    """The blocks of one resolution, on tokens (B, H*W, C)."""

    def __init__(self, blocks: nn.Sequential) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(map(DeployBlock, fold.children(blocks)))

    def forward(self, tokens: Tensor, size: Size) -> Tensor:
        """Keep the shape (B, H*W, C)."""
        for block in self.blocks:
            tokens = block(tokens, size)
        return tokens


class DeployBackbone(nn.Module):
    """`LITv2Backbone` on tokens (B, H*W, C) from the patch embedding on."""

    def __init__(self, model: litv2.LITv2Backbone) -> None:
        super().__init__()
        self.proj, self.norm = model.patch_embed.proj, model.patch_embed.norm
        stages: list[litv2.Stage] = fold.children(model.layers)
        self.stages = nn.ModuleList(DeployStage(stage.blocks) for stage in stages)
        merges: list[Any] = [stage.downsample for stage in stages[:-1]]  # declared as Module
        self.merges = nn.ModuleList(map(DeployMerging, merges))

    def forward(self, x: Tensor) -> list[tuple[Tensor, Size]]:
        """Map images (B, 3, H, W) to the four stages' tokens, with height and width of each."""
        x = self.proj(x)
        size = (x.shape[2], x.shape[3])
        tokens = self.norm(to_tokens(x))
        features = [(self.stages[0](tokens, size), size)]
        for merge, stage in zip(self.merges, self.stages[1:], strict=True):
            tokens, size = features[-1]
            merged = merge(tokens, size)
            size = (size[0] // 2, size[1] // 2)
            features.append((stage(merged, size), size))
        return features


class DeployClassifier(nn.Module):
    """`LITv2` on tokens, for export."""

    def __init__(self, model: litv2.LITv2, input_size: Size) -> None:
        super().__init__()
        self.size_step = model.config.size_step
        self.backbone = DeployBackbone(model)
        self.norm, self.head = model.norm, model.head

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, num_classes).

        Raises:
            ModelError: as `LITv2`, if height or width does not divide.
        """
        litv2.check_size(x.shape[-2], x.shape[-1], self.size_step)
        tokens, _ = self.backbone(x)[-1]
        return self.head(self.norm(tokens).mean(dim=1))


class DeployPyramid(nn.Module):
    """`LITv2Pyramid` on tokens, for export."""

    def __init__(self, model: litv2.LITv2Pyramid, input_size: Size) -> None:
        super().__init__()
        self.backbone = DeployBackbone(model)
        self.norms = nn.ModuleList([model.norm0, model.norm1, model.norm2, model.norm3])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) to four feature maps at strides 4, 8, 16 and 32.

        Raises:
            ModelError: as `LITv2Pyramid`, if a side is too small.
        """
        x = litv2.fill_patches(x)
        features = zip(self.norms, self.backbone(x), strict=True)
        return [to_map(norm(tokens), size) for norm, (tokens, size) in features]
