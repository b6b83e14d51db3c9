"""LightViT for inference.

The tokens of all images lie in one matrix (tokens * B, C), token by token: a linear layer is one
product, and global tokens are its first rows. Where windows divide a map, its tokens stay in the
order of windows through the whole stage: of its layers only windows and merges see the order.

What depends on weights alone is computed ahead:

    - Batch normalizations, the scale and shift of most layer normalizations and the softmax's scale
      go into the layer beside them; the bias of every pair of positions is looked up.
    - A bias of the keys adds the same to all scores of a query, which the softmax ignores. A bias
      of the values passes attention as it is, since its weights sum to 1: it goes into `proj`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from edgevit.export.deploy import fold
from edgevit.models import lightvit

Index = NDArray[np.int64]
Operator = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Layout:
    """Which image tokens a stage has, and in which order.

    Args:
        size: (height, width) of the map that the image tokens form.
        side: height and width of a window in tokens.
    """

    size: tuple[int, int]
    side: int

    @property
    def area(self) -> int:
        """Image tokens of one image."""
        return self.size[0] * self.size[1]

    @property
    def is_whole(self) -> bool:
        """Whether windows divide the map, so that its tokens lie in their order."""
        return all(side % self.side == 0 for side in self.size)

    def windows(self) -> Index:
        """Tokens, numbered row by row, by position in a window, then by window; `area` is padding.

        Returns:
            int64 (side * side, windows).
        """
        height, width = self.size
        map_ = np.arange(self.area).reshape(self.size)
        pad = (0, -height % self.side), (0, -width % self.side)
        map_ = np.pad(map_, pad, constant_values=self.area)
        rows, columns = (length // self.side for length in map_.shape)
        cells = map_.reshape(rows, self.side, columns, self.side)
        return cells.transpose(1, 3, 0, 2).reshape(self.side**2, rows * columns)

    def places(self) -> Index:
        """Where in the stage's order each token of the map lies: int64 (height, width)."""
        order = self.windows().reshape(-1) if self.is_whole else np.arange(self.area)
        return inverse(order, self.area).reshape(self.size)

    def merged(self) -> Layout:
        """The layout after a merge, which rounds odd sizes up."""
        height, width = self.size
        return Layout(((height + 1) // 2, (width + 1) // 2), self.side)

    def corners(self) -> list[Index]:
        """The four tokens that merge, for every token after it; `area` is padding.

        Returns:
            Four int64 (merged area,), column by column as the weights want them.
        """
        height, width = self.size
        places = np.pad(self.places(), ((0, height % 2), (0, width % 2)), constant_values=self.area)
        order = inverse(self.merged().places().reshape(-1), self.merged().area)
        return [places[row::2, column::2].reshape(-1)[order] for column in (0, 1) for row in (0, 1)]


def inverse(order: Index, count: int) -> Index:
    """Where in `order` each of `count` numbers stands; the number `count` may stand there too."""
    places = np.empty(count + 1, np.int64)
    places[order] = np.arange(order.size)
    return places[:count]


def side_by_side(x: Tensor, count: int) -> Tensor:
    """Lay images (count * B, C) side by side: (count, B * C). One image already lies so."""
    return x if x.shape[0] == count else x.reshape(count, -1)


def as_rows(x: Tensor, channels: int) -> Tensor:
    """Undo `side_by_side`: (count, B * channels) to (count * B, channels)."""
    return x if x.shape[1] == channels else x.reshape(-1, channels)


def take(x: Tensor, tokens: Index, count: int) -> Tensor:
    """Gather tokens of every image; the number `count` gives zeros.

    Args:
        x: (count * B, C).
        tokens: int64 (M,).
        count: tokens of an image in `x`.

    Returns:
        (M * B, C).
    """
    images = side_by_side(x, count)
    if tokens.max() == count:
        images = F.pad(images, (0, 0, 0, 1))
    return as_rows(images.index_select(0, torch.tensor(tokens)), x.shape[1])


def token_mean(x: Tensor, count: int) -> Tensor:
    """Average (count * B, C) over tokens: (B, C).

    As a product: ONNX Runtime reduces over rows several times more slowly.
    """
    mean = x.new_full((1, count), 1 / count) @ side_by_side(x, count)
    return as_rows(mean, x.shape[1])


def over_tokens(operator: Operator, x: Tensor, y: Tensor, count: int) -> Tensor:
    """Apply an operator to every token of (count * B, C) and its image's row of (B, C)."""
    images = side_by_side(y, 1)  # (1, B * C)
    return as_rows(operator(side_by_side(x, count), images), x.shape[1])


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax attention over the first axis.

    Args:
        query: (N, ..., channels of a head), scaled.
        key: (M, ..., channels of a head).
        value: (M, ..., channels of a head).
        bias: added to the scores (..., N, M).

    Returns:
        (..., N, channels of a head).
    """
    scores = query.movedim(0, -2) @ key.movedim(0, -1)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(dim=-1) @ value.movedim(0, -2)


class DeployAttention(nn.Module):
    """`LightViTAttention` on rows, with the scale in the query's weights."""

    bias: Tensor  # (heads, side * side, side * side)
    joint_bias: Tensor  # the same, below zeros for the queries of global tokens

    def __init__(self, attention: lightvit.LightViTAttention, qkv: nn.Linear) -> None:
        super().__init__()
        self.num_heads = attention.num_heads
        self.num_tokens = attention.num_tokens
        proj, dtype = attention.proj, attention.proj.weight.dtype
        query, key, value = qkv.weight.double().chunk(3)
        query_bias, _, value_bias = qkv.bias.double().chunk(3)
        scale = (len(query) // attention.num_heads) ** -0.5
        self.query = fold.linear_from(query * scale, query_bias * scale, dtype)
        self.key = fold.linear_from(key, None, dtype)
        self.value = fold.linear_from(value, None, dtype)
        key, value = attention.kv_global.weight.double().chunk(2)
        _, bias = attention.kv_global.bias.double().chunk(2)
        self.global_key = fold.linear_from(key, None, dtype)
        self.global_value = fold.linear_from(value, bias + value @ value_bias, dtype)
        weight = proj.weight.double()
        self.proj = fold.linear_from(weight, proj.bias.double() + weight @ value_bias, dtype)
        bias = attention.relative_position_bias().contiguous()
        self.register_buffer("bias", bias)
        self.register_buffer("joint_bias", F.pad(bias, (0, 0, self.num_tokens, 0)))

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """Map (tokens * B, C) to (tokens * B, C)."""
        if layout.is_whole:
            return self.proj(torch.cat(self.attended(x, layout)))
        first = self.first(x, layout.area)
        windows = layout.windows().reshape(-1)
        padded = take(x[first:], windows, layout.area)
        gathered, image = self.attended(torch.cat((x[:first], padded)), layout)
        image = take(image, inverse(windows, layout.area), windows.size)
        return self.proj(torch.cat((gathered, image)))

    def first(self, x: Tensor, area: int) -> int:
        """The first row of an image token, of which an image has `area`."""
        return x.shape[0] // (self.num_tokens + area) * self.num_tokens

    def attended(self, x: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """What global tokens, and image tokens in the order of windows, attend to."""
        windows = layout.windows()
        first, (length, count) = self.first(x, windows.size), windows.shape
        query, image = self.query(x), x[first:]
        key, value = self.key(image), self.value(image)
        keys, values = self.heads(key, length), self.heads(value, length)
        queries = self.heads(query[first:], length)
        if layout.is_whole and count == 1:
            # Global tokens attend to the same as the window's tokens, only without a bias.
            everyone = self.heads(query, self.num_tokens + length)
            both = self.rows(attend(everyone, keys, values, self.joint_bias))
            gathered, local = both[:first], both[first:]
            return gathered, local + self.rows(self.broadcast(queries, gathered, count))
        gathered = self.aggregated(query[:first], key, value, layout)
        local = attend(queries, keys, values, self.bias)
        return gathered, self.rows(local + self.broadcast(queries, gathered, count))

    def heads(self, x: Tensor, length: int) -> Tensor:
        """Take (length * n, C) apart: (length, n, heads, C / heads)."""
        return x.reshape(length, -1, self.num_heads, x.shape[1] // self.num_heads)

    def rows(self, x: Tensor) -> Tensor:
        """Put what was attended to, (n, heads, length, C / heads), together: (length * n, C)."""
        return x.movedim(2, 0).reshape(-1, x.shape[1] * x.shape[3])

    def aggregated(self, query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
        """What global tokens gather from all image tokens but padding: (T * B, C)."""
        windows = layout.windows().reshape(-1)
        bias = None
        if not layout.is_whole:
            bias = query.new_tensor(np.where(windows == layout.area, -np.inf, 0.0).tolist())
        keys, values = self.heads(key, windows.size), self.heads(value, windows.size)
        return self.rows(attend(self.heads(query, self.num_tokens), keys, values, bias))

    def broadcast(self, query: Tensor, gathered: Tensor, windows: int) -> Tensor:
        """What image tokens take from global ones.

        Args:
            query: (side * side, windows * B, heads, C / heads).
            gathered: (T * B, C).
            windows: number of windows of one image.

        Returns:
            (windows * B, heads, side * side, C / heads).
        """
        key = self.heads(self.global_key(gathered), self.num_tokens)  # (T, B, heads, C / heads)
        value = self.heads(self.global_value(gathered), self.num_tokens)
        if windows > 1 and key.shape[1] > 1:  # an image alone needs no copy for each window
            key, value = (part.repeat(1, windows, 1, 1) for part in (key, value))
        return attend(query, key, value)


class DeployMLP(nn.Module):
    """`MLP` on rows, after its normalization without scale and shift."""

    def __init__(self, norm: nn.LayerNorm, mlp: lightvit.MLP) -> None:
        super().__init__()
        self.fc1 = fold.fold_layernorm_into_next(norm, mlp.fc1)
        self.fc2, gates = mlp.fc2, mlp.attn
        self.norm = fold.without_affine(gates.norm)
        self.global_reduce = fold.fold_layernorm_into_next(gates.norm, gates.global_reduce)
        self.local_reduce = fold.fold_layernorm_into_next(gates.norm, gates.local_reduce)
        self.channel_select = gates.channel_select
        select, dtype = gates.spatial_select, gates.spatial_select.weight.dtype
        local, overall = select.weight.chunk(2, dim=1)
        self.local_select = fold.linear_from(local, None, dtype)
        self.overall_select = fold.linear_from(overall, select.bias, dtype)

    def forward(self, x: Tensor, count: int) -> Tensor:
        """Map (count * B, C) to (count * B, C)."""
        x = self.fc2(F.gelu(self.fc1(x)))
        normed = self.norm(x)
        overall = F.gelu(self.global_reduce(token_mean(normed, count)))  # (B, C / 4)
        token_gate = self.local_select(F.gelu(self.local_reduce(normed)))  # (count * B, 1)
        token_gate = over_tokens(torch.add, token_gate, self.overall_select(overall), count)
        channel_gate = torch.sigmoid(self.channel_select(overall))  # (B, C)
        return over_tokens(torch.mul, x, channel_gate, count) * torch.sigmoid(token_gate)


class DeployBlock(nn.Module):
    """`Block` on rows.

    Args:
        block: the trained block, which is not changed.
        pads: maps may need padding, whose zeros come after the scale and shift of `norm1`.
    """

    def __init__(self, block: lightvit.Block, pads: bool) -> None:
        super().__init__()
        qkv, self.norm1, self.norm2 = block.attn.qkv, block.norm1, fold.without_affine(block.norm2)
        if not pads:
            qkv, self.norm1 = (
                fold.fold_layernorm_into_next(block.norm1, qkv),
                fold.without_affine(block.norm1),
            )
        self.attn = DeployAttention(block.attn, qkv)
        self.mlp = DeployMLP(block.norm2, block.mlp)
        self.num_dropped = block.num_dropped
        self.num_tokens = block.attn.num_tokens

    def forward(self, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        """Map (tokens * B, C) to (tokens * B, C), or lose global tokens."""
        x = x + self.attn(self.norm1(x), layout)
        count = layout.area + self.num_tokens
        x = x[x.shape[0] // count * self.num_dropped :]
        return x + self.mlp(self.norm2(x), count - self.num_dropped), layout


class DeployMerge(nn.Module):
    """`ResidualMerge` on rows, with what its normalizations learned folded into what follows."""

    def __init__(self, merge: lightvit.ResidualMerge) -> None:
        super().__init__()
        self.num_tokens = merge.num_tokens
        self.norm, self.norm2 = fold.without_affine(merge.norm), fold.without_affine(merge.norm2)
        self.reduction = fold.fold_layernorm_into_next(merge.norm, merge.reduction)
        self.proj = fold.fold_layernorm_into_next(merge.norm2, merge.proj)
        self.res_proj = merge.res_proj

    def forward(self, x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
        """Map (tokens * B, dim) to fewer (tokens * B, out_dim)."""
        first = x.shape[0] // (self.num_tokens + layout.area) * self.num_tokens
        tokens, image = x[:first], x[first:]
        a, b, c, d = (take(image, corner, layout.area) for corner in layout.corners())
        residual = torch.maximum(torch.maximum(a, b), torch.maximum(c, d))
        image = self.reduction(self.norm(torch.cat((a, b, c, d), dim=1))) + self.res_proj(residual)
        return torch.cat((self.proj(self.norm2(tokens)), image)), layout.merged()


class DeployStem(nn.Module):
    """`ConvStem` to rows, in the order of windows where these divide the map."""

    def __init__(self, stem: lightvit.ConvStem, side: int) -> None:
        super().__init__()
        layers = fold.children(stem.stem)
        self.stem = nn.Sequential()
        for conv, norm, act in zip(layers[::3], layers[1::3], layers[2::3], strict=True):
            self.stem.extend((fold.fold_batchnorm_into_previous(conv, norm), act))
        self.proj, self.norm, self.side = stem.proj, stem.norm, side

    def forward(self, x: Tensor) -> tuple[Tensor, Layout]:
        """Map images (B, 3, H, W) to (tokens * B, dim)."""
        x = self.proj(self.stem(x))
        layout = Layout((x.shape[2], x.shape[3]), self.side)
        x = x.permute(2, 3, 0, 1).reshape(-1, x.shape[1])  # (B, C, H, W) -> (H * W * B, C)
        if layout.is_whole:
            x = take(x, layout.windows().reshape(-1), layout.area)
        return self.norm(x), layout


class DeployBackbone(nn.Module):
    """`LightViTBackbone` on rows, with the Layout that tells their order."""

    def __init__(self, model: lightvit.LightViTBackbone, pads: bool) -> None:
        super().__init__()
        self.global_token = model.global_token
        self.stem = DeployStem(model.patch_embed, model.config.window_size)
        self.stages = nn.ModuleList(
            nn.ModuleList(_layer(layer, pads) for layer in fold.children(stage))
            for stage in fold.children(model.stages)
        )

    def forward(self, x: Tensor) -> list[tuple[Tensor, Layout]]:
        """Map images (B, 3, H, W) to the rows (tokens * B, C) after each stage, and their order."""
        tokens = self.global_token.transpose(0, 1).expand(-1, x.shape[0], -1).flatten(0, 1)
        x, layout = self.stem(x)
        x = torch.cat((tokens, x))
        outputs = []
        for stage in fold.children(self.stages):
            for layer in stage:
                x, layout = layer(x, layout)
            outputs.append((x, layout))
        return outputs


def _layer(layer: lightvit.Block | lightvit.ResidualMerge, pads: bool) -> nn.Module:
    return DeployBlock(layer, pads) if isinstance(layer, lightvit.Block) else DeployMerge(layer)


class DeployClassifier(nn.Module):
    """`LightViT` on rows, for inputs of whole windows."""

    def __init__(self, model: lightvit.LightViT, input_size: tuple[int, int]) -> None:
        super().__init__()
        self.side, self.num_tokens = model.config.window_size, model.config.num_tokens
        self.backbone = DeployBackbone(model, pads=False)
        self.norm = fold.without_affine(model.norm)
        linear, *others = fold.children(model.neck)
        self.neck = nn.Sequential(fold.fold_layernorm_into_next(model.norm, linear), *others)
        self.head = model.head

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, num_classes)."""
        lightvit.require_whole_windows((x.shape[2], x.shape[3]), self.side)
        rows, layout = self.backbone(x)[-1]
        return self.head(token_mean(self.neck(self.norm(rows)), self.num_tokens + layout.area))


class DeployPyramid(nn.Module):
    """`LightViTPyramid` on rows, for inputs of any size."""

    def __init__(self, model: lightvit.LightViTPyramid, input_size: tuple[int, int]) -> None:
        super().__init__()
        self.backbone = DeployBackbone(model, pads=True)
        self.norms = nn.ModuleList([model.norm0, model.norm1, model.norm2])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) of any size to three feature maps at strides 8, 16 and 32."""
        batch = x.shape[0]
        return [
            norm(to_map(rows[-layout.area * batch :], layout)).permute(2, 3, 0, 1)
            for norm, (rows, layout) in zip(self.norms, self.backbone(x), strict=True)
        ]


def to_map(x: Tensor, layout: Layout) -> Tensor:
    """Lay image tokens (area * B, C) out: (height, width, B, C)."""
    if layout.is_whole:
        x = take(x, layout.places().reshape(-1), layout.area)
    return x.reshape(*layout.size, -1, x.shape[1])
