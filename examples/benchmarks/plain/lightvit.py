"""LightViT with the forward pass that the official code has, for a naive export.

The operations, their order and their layouts are those of `lib/models/lightvit.py` in
github.com/hunto/image_classification_sota (Apache-2.0). One thing differs: the merge's 3-D max
pooling gets the axis that its official call leaves out, because ONNX Runtime does not load the
four-dimensional form.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from edgevit.models import lightvit


class Attention(nn.Module):
    """`LightViTAttention` with heads before windows, cut and put back for query, key and value."""

    def __init__(self, attention: lightvit.LightViTAttention) -> None:
        super().__init__()
        self.layers = attention

    def windows(self, x: Tensor, height: int, width: int) -> Tensor:
        """Cut (B, heads, H * W, C) into (B * windows, heads, side * side, C)."""
        side = self.layers.window_size
        batch, heads, _, channels = x.shape
        x = x.view(batch, heads, height // side, side, width // side, side, channels)
        x = x.permute(0, 2, 4, 1, 3, 5, 6).contiguous()
        return x.view(-1, heads, side * side, channels)

    def bias(self) -> Tensor:
        """Look up (1, heads, side * side, side * side)."""
        area = self.layers.window_size**2
        table = self.layers.relative_position_bias_table
        bias = table[self.layers.relative_position_index].view(area, area, -1)
        return bias.permute(2, 0, 1).contiguous().unsqueeze(0)

    @staticmethod
    def scores(query: Tensor, key: Tensor) -> Tensor:
        """Scale and multiply: (..., N, M)."""
        return (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)

    def local(
        self, query: Tensor, key: Tensor, value: Tensor, *, height: int, width: int
    ) -> Tensor:
        """Attend inside windows: (B, heads, H * W, C) to (B, H * W, heads * C)."""
        side = self.layers.window_size
        query, key, value = (self.windows(part, height, width) for part in (query, key, value))
        weights = (self.scores(query, key) + self.bias()).softmax(dim=-1)
        x = (weights @ value).transpose(1, 2).reshape(value.shape[0], side * side, -1)
        batch = x.shape[0] // (height * width // side**2)
        x = x.view(batch, height // side, width // side, side, side, -1)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(batch, height * width, -1)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend: (B, heads, N, C) to (B, N, heads * C)."""
        x = self.scores(query, key).softmax(dim=-1) @ value
        return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """Keep the shape (B, T + H * W, C)."""
        batch, count, dim = x.shape
        tokens, heads = self.layers.num_tokens, self.layers.num_heads
        qkv = self.layers.qkv(x).view(batch, count, 3, heads, dim // heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        image = [part[:, :, tokens:] for part in (query, key, value)]
        local = self.local(*image, height=height, width=width)
        gathered = self.attend(query[:, :, :tokens], *image[1:])
        pair = self.layers.kv_global(gathered).view(batch, -1, 2, heads, dim // heads)
        local = local + self.attend(image[0], *pair.permute(2, 0, 3, 1, 4).unbind(0))
        return self.layers.proj(torch.cat([gathered, local], dim=1))


class BiAttention(nn.Module):
    """`BiAttention` with the mean's features repeated for every token."""

    def __init__(self, attention: lightvit.BiAttention) -> None:
        super().__init__()
        self.layers = attention

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, N, C)."""
        normed = self.layers.norm(x)
        overall = F.gelu(self.layers.global_reduce(normed.mean(1, keepdim=True)))
        local = F.gelu(self.layers.local_reduce(normed))
        channel_gate = torch.sigmoid(self.layers.channel_select(overall))
        both = torch.cat([local, overall.expand(-1, x.shape[1], -1)], dim=-1)
        token_gate = torch.sigmoid(self.layers.spatial_select(both))
        return x * (channel_gate * token_gate)


class Block(nn.Module):
    """`Block` of a classifier."""

    def __init__(self, block: lightvit.Block) -> None:
        super().__init__()
        self.layers = block
        self.attention = Attention(block.attn)
        self.gates = BiAttention(block.mlp.attn)

    def forward(self, x: Tensor, height: int, width: int) -> tuple[Tensor, int, int]:
        """Keep the shape (B, T + H * W, C), and the size."""
        x = x + self.attention(self.layers.norm1(x), height, width)
        mlp = self.layers.mlp
        return x + self.gates(mlp.fc2(mlp.act(mlp.fc1(self.layers.norm2(x))))), height, width


class Merge(nn.Module):
    """`ResidualMerge` with four strided slices, concatenated, and a 3-D max pooling."""

    def __init__(self, merge: lightvit.ResidualMerge) -> None:
        super().__init__()
        self.layers = merge
        self.pool = nn.MaxPool3d((2, 2, 1), (2, 2, 1))

    def forward(self, x: Tensor, height: int, width: int) -> tuple[Tensor, int, int]:
        """Map (B, T + H * W, dim) to (B, T + H * W / 4, out_dim), and halve the size."""
        count = self.layers.num_tokens
        tokens, image = x[:, :count].contiguous(), x[:, count:].contiguous()
        batch, _, dim = image.shape
        image = image.view(batch, height, width, dim)
        residual = self.layers.res_proj(self.pool(image.unsqueeze(1)).view(batch, -1, dim))
        corners = [image[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        image = torch.cat(corners, -1).view(batch, -1, 4 * dim)
        image = self.layers.reduction(self.layers.norm(image)) + residual
        tokens = self.layers.proj(self.layers.norm2(tokens))
        return torch.cat([tokens, image], 1), height // 2, width // 2


class Classifier(nn.Module):
    """`LightViT` around the layers above."""

    def __init__(self, model: lightvit.LightViT) -> None:
        super().__init__()
        self.model = model
        self.stages = nn.ModuleList(
            Merge(layer) if isinstance(layer, lightvit.ResidualMerge) else Block(layer)
            for stage in model.stages
            for layer in stage
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, num_classes)."""
        x, (height, width) = self.model.patch_embed(x)
        x = torch.cat((self.model.global_token.expand(x.shape[0], -1, -1), x), dim=1)
        for layer in self.stages:
            x, height, width = layer(x, height, width)
        return self.model.head(self.model.neck(self.model.norm(x)).mean(1))


def plain(model: lightvit.LightViT) -> nn.Module:
    """Wrap a model, whose weights stay shared, into the official forward pass.

    Args:
        model: a classifier; float32.

    Returns:
        A module in eval mode from images (B, 3, H, W), H and W multiples of 224, to logits
        (B, num_classes).
    """
    return Classifier(model).eval()
