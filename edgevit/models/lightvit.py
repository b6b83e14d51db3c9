"""LightViT: light-weight vision transformers with global tokens instead of convolutions.

Paper: Huang et al., "LightViT: Towards Light-Weight Convolution-Free Vision Transformers",
arXiv:2207.05557.
Repositories: github.com/hunto/LightViT (Apache-2.0), `detection/lightvit.py`, and
github.com/hunto/image_classification_sota (Apache-2.0), `lib/models/lightvit.py`. Written anew
from the paper and the published state-dict keys; parameter names are the official ones, so
official checkpoints load strictly.

Differences from upstream:
    - Two modules share one backbone: `LightViT` (logits) and `LightViTPyramid` (three feature
      maps), instead of one copy of the model for each task.
    - The residual of a merge is a maximum over four neighbors laid side by side, not a 3-D max
      pooling, which many runtimes do not load.
    - A classifier's input size that its windows do not divide is a ModelError, not a failed
      reshape somewhere inside.
    - No dropout, which upstream leaves at 0; the stem's BatchNorm trains in the dense form too.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from edgevit.errors import ModelError
from edgevit.models.drop_path import DropPath

Size = tuple[int, int]
"""(height, width) of the map that the image tokens of a sequence form, row by row."""

STEM_STRIDE = 8
BLOCK_EPS = 1e-6  # of the normalizations around blocks; the others keep PyTorch's 1e-5


@dataclass(frozen=True)
class LightViTConfig:
    """Depth, width and number of global tokens.

    Args:
        depths: number of blocks in each stage.
        dims: channels of each stage; the stages run at strides 8, 16 and 32.
        heads: attention heads of each stage.
        num_tokens: global tokens of the classifier.
        num_dense_tokens: global tokens of the dense backbone.
        mlp_ratios: hidden over input channels of each stage's MLPs.
        window_size: height and width, in tokens, of the attention windows.
        neck_dim: channels between the last stage and the classifier's head.
    """

    depths: tuple[int, int, int]
    dims: tuple[int, int, int]
    heads: tuple[int, int, int]
    num_tokens: int
    num_dense_tokens: int
    mlp_ratios: tuple[int, int, int] = (8, 4, 4)
    window_size: int = 7
    neck_dim: int = 1280


CONFIGS = {
    "lightvit_tiny": LightViTConfig(
        depths=(2, 6, 6), dims=(64, 128, 256), heads=(2, 4, 8), num_tokens=8, num_dense_tokens=512
    ),
    "lightvit_small": LightViTConfig(
        depths=(2, 6, 6), dims=(96, 192, 384), heads=(3, 6, 12), num_tokens=16, num_dense_tokens=16
    ),
    "lightvit_base": LightViTConfig(
        depths=(3, 8, 6), dims=(128, 256, 512), heads=(4, 8, 16), num_tokens=24, num_dense_tokens=24
    ),
}


def build_stem(dim: int) -> nn.Sequential:
    """Four 3x3 convolutions, the last three depthwise: an RGB image to `dim` channels, stride 4."""
    layers: list[nn.Module] = []
    for in_dim, groups, stride in ((3, 1, 2), (dim, dim, 1), (dim, dim, 1), (dim, dim, 2)):
        conv = nn.Conv2d(in_dim, dim, 3, stride=stride, padding=1, groups=groups, bias=False)
        layers += [conv, nn.BatchNorm2d(dim), nn.GELU()]
    return nn.Sequential(*layers)


class ConvStem(nn.Module):
    """An RGB image to tokens at stride 8, sizes rounded up."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.stem = build_stem(dim // 2)
        self.proj = nn.Conv2d(dim // 2, dim, kernel_size=3, stride=2, padding=1)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Size]:
        """Map (B, 3, H, W) to tokens (B, H/8 * W/8, dim) and the size of their map."""
        x = self.proj(self.stem(x))
        height, width = x.shape[2:]
        return self.norm(x.flatten(2).transpose(1, 2)), (height, width)


def relative_position_index(side: int) -> Tensor:
    """Number the relative positions in a window of `side` x `side` tokens.

    Returns:
        int64 (side**4,): for each query and each key in turn, the row of the bias table, which
        counts the offsets (rows, columns) from (1 - side, 1 - side) to (side - 1, side - 1).
    """
    steps = torch.arange(side)
    rows, columns = steps.repeat_interleave(side), steps.repeat(side)
    down = rows[:, None] - rows[None, :] + side - 1
    right = columns[:, None] - columns[None, :] + side - 1
    return (down * (2 * side - 1) + right).flatten()


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Zero-pad (B, H, W, C) at the bottom and the right until `multiple` divides H and W."""
    bottom, right = -x.shape[1] % multiple, -x.shape[2] % multiple
    return F.pad(x, (0, 0, 0, right, 0, bottom)) if bottom or right else x


def windows_from_map(x: Tensor, side: int) -> Tensor:
    """Cut (B, H, W, C), where `side` divides H and W, into (B * windows, side * side, C)."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // side, side, width // side, side, channels)
    return x.transpose(2, 3).reshape(-1, side * side, channels)


def map_from_windows(windows: Tensor, side: int, size: Size) -> Tensor:
    """Undo `windows_from_map`: (B * windows, side * side, C) to (B, H, W, C)."""
    height, width = size
    channels = windows.shape[-1]
    x = windows.reshape(-1, height // side, width // side, side, side, channels)
    return x.transpose(2, 3).reshape(-1, height, width, channels)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax attention in each head, and the heads side by side.

    Args:
        query: (B, heads, N, channels of a head).
        key: (B, heads, M, channels of a head).
        value: (B, heads, M, channels of a head).
        bias: (heads, N, M), added before the softmax.

    Returns:
        (B, N, channels).
    """
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)  # (B, heads, N, M)
    if bias is not None:
        scores = scores + bias
    return (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)


class LightViTAttention(nn.Module):
    """Local window attention, and global tokens that carry information between the windows.

    Every image token attends to the tokens of its window, with a learned bias for each relative
    position. The global tokens attend to all image tokens (aggregation), and all image tokens
    attend to what these gathered (broadcast). The cost is linear in the number of tokens.

    A map that the windows do not divide is padded with zeros at the bottom and the right. As
    upstream, padded tokens pass `qkv`, so they carry its bias, and are not masked inside their
    window; global tokens do not see them.

    Args:
        dim: channels of a token.
        num_heads: attention heads; must divide `dim`.
        num_tokens: number of global tokens, which come first in the sequence.
        window_size: height and width of a window in tokens.

    Example:
        >>> attention = LightViTAttention(dim=64, num_heads=2, num_tokens=8)
        >>> attention(torch.zeros(1, 8 + 20 * 30, 64), (20, 30)).shape
        torch.Size([1, 608, 64])
    """

    relative_position_index: Tensor

    def __init__(self, dim: int, num_heads: int, num_tokens: int, window_size: int = 7) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_tokens = num_tokens
        self.window_size = window_size
        self.qkv = nn.Linear(dim, 3 * dim)
        self.kv_global = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * window_size - 1) ** 2, num_heads)
        )
        self.register_buffer("relative_position_index", relative_position_index(window_size))

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Keep the shape (B, num_tokens + H * W, C), `size` being (H, W)."""
        height, width = size
        tokens, image = x[:, : self.num_tokens], x[:, self.num_tokens :]
        qkv = self.qkv(pad_to_multiple(torch.unflatten(image, 1, size), self.window_size))
        local = self.attend_in_windows(qkv)[:, :height, :width].flatten(1, 2)
        query, key, value = self.split_heads(qkv[:, :height, :width].flatten(1, 2), 3)
        token_query, _, _ = self.split_heads(self.qkv(tokens), 3)
        gathered = attend(token_query, key, value)  # (B, num_tokens, C)
        broadcast = attend(query, *self.split_heads(self.kv_global(gathered), 2))  # (B, H * W, C)
        return self.proj(torch.cat((gathered, local + broadcast), dim=1))

    def attend_in_windows(self, qkv: Tensor) -> Tensor:
        """Map queries, keys and values (B, H, W, 3C) to (B, H, W, C); windows divide H and W."""
        windows = windows_from_map(qkv, self.window_size)
        query, key, value = self.split_heads(windows, 3)
        attended = attend(query, key, value, self.relative_position_bias())
        return map_from_windows(attended, self.window_size, (qkv.shape[1], qkv.shape[2]))

    def relative_position_bias(self) -> Tensor:
        """Look the bias of every query and key of a window up: (heads, N, N)."""
        area = self.window_size**2
        bias = self.relative_position_bias_table[self.relative_position_index]  # (N * N, heads)
        return torch.unflatten(bias, 0, (area, area)).permute(2, 0, 1)

    def split_heads(self, x: Tensor, parts: int) -> list[Tensor]:
        """Take (B, N, parts * C) apart: `parts` tensors (B, heads, N, C / heads)."""
        heads = (self.num_heads, -1)
        return [torch.unflatten(part, -1, heads).transpose(1, 2) for part in x.chunk(parts, dim=-1)]


class BiAttention(nn.Module):
    """Gate every channel and every token: `x * sigmoid(channel gate) * sigmoid(token gate)`.

    The channel gate comes from the mean of all tokens, a token's gate from the token and the mean.

    Args:
        dim: channels of a token; both gates work on a quarter of them.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.global_reduce = nn.Linear(dim, dim // 4)
        self.local_reduce = nn.Linear(dim, dim // 4)
        self.channel_select = nn.Linear(dim // 4, dim)
        self.spatial_select = nn.Linear(2 * (dim // 4), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, N, C)."""
        normed = self.norm(x)
        overall = F.gelu(self.global_reduce(normed.mean(dim=1, keepdim=True)))  # (B, 1, C/4)
        local = F.gelu(self.local_reduce(normed))  # (B, N, C/4)
        channel_gate = torch.sigmoid(self.channel_select(overall))  # (B, 1, C)
        both = torch.cat((local, overall.expand_as(local)), dim=-1)  # (B, N, C/2)
        token_gate = torch.sigmoid(self.spatial_select(both))  # (B, N, 1)
        return x * (channel_gate * token_gate)


class MLP(nn.Module):
    """Two linear layers with GELU between, then bi-dimensional attention.

    Args:
        dim: channels of a token, in and out.
        hidden_dim: channels between the two layers.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.attn = BiAttention(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, N, C)."""
        return self.attn(self.fc2(self.act(self.fc1(x))))


class Block(nn.Module):
    """Attention and MLP, each with a residual.

    Args:
        dim: channels of a token.
        num_heads: attention heads.
        num_tokens: number of global tokens, which come first in the sequence.
        mlp_ratio: hidden over input channels of the MLP.
        window_size: height and width of an attention window in tokens.
        drop_path: probability of stochastic depth.
        image_only: drop the global tokens between attention and MLP.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        num_tokens: int,
        mlp_ratio: int = 4,
        window_size: int = 7,
        drop_path: float = 0.0,
        image_only: bool = False,
    ) -> None:
        super().__init__()
        self.num_dropped = num_tokens if image_only else 0
        self.norm1 = nn.LayerNorm(dim, eps=BLOCK_EPS)
        self.attn = LightViTAttention(dim, num_heads, num_tokens, window_size)
        self.norm2 = nn.LayerNorm(dim, eps=BLOCK_EPS)
        self.mlp = MLP(dim, dim * mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, size: Size) -> tuple[Tensor, Size]:
        """Keep the shape (B, N, C), or lose the global tokens with `image_only`, and the size."""
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        x = x[:, self.num_dropped :]
        return x + self.drop_path(self.mlp(self.norm2(x))), size


class ResidualMerge(nn.Module):
    """Merge 2x2 image tokens into one, with their maximum as residual; project global tokens.

    Odd sizes are padded with zeros at the bottom and the right, which the maximum sees.
    """

    def __init__(self, dim: int, out_dim: int, num_tokens: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, out_dim, bias=False)
        self.norm2 = nn.LayerNorm(dim)
        self.proj = nn.Linear(dim, out_dim, bias=False)
        self.res_proj = nn.Linear(dim, out_dim, bias=False)

    def forward(self, x: Tensor, size: Size) -> tuple[Tensor, Size]:
        """Map (B, num_tokens + H * W, dim) to (B, num_tokens + H/2 * W/2, out_dim), rounded up."""
        tokens, image = x[:, : self.num_tokens], x[:, self.num_tokens :]
        padded = pad_to_multiple(torch.unflatten(image, 1, size), 2)
        batch, height, width, dim = padded.shape
        height, width = height // 2, width // 2
        cells = padded.reshape(batch, height, 2, width, 2, dim)
        # Upstream takes the four neighbors of a cell column by column.
        cells = cells.permute(0, 1, 3, 4, 2, 5).reshape(batch, height * width, 4, dim)
        image = self.reduction(self.norm(cells.flatten(2))) + self.res_proj(cells.amax(dim=2))
        tokens = self.proj(self.norm2(tokens))
        return torch.cat((tokens, image), dim=1), (height, width)


class Stage(nn.ModuleList):
    """Layers one after the other, each from tokens and size to tokens and size."""

    def forward(self, x: Tensor, size: Size) -> tuple[Tensor, Size]:
        """Map tokens (B, N, C) and (height, width) through every layer; a merge changes both."""
        for layer in self:
            x, size = layer(x, size)
        return x, size


def build_stages(
    config: LightViTConfig, *, num_tokens: int, dense: bool, drop_path: float
) -> nn.ModuleList:
    """Three stages of blocks, with a merge at the head of the second and the third."""
    rates = torch.linspace(0, drop_path, sum(config.depths), device="cpu").tolist()
    stages = nn.ModuleList()
    for index, (depth, dim) in enumerate(zip(config.depths, config.dims, strict=True)):
        stage = Stage()
        if index > 0:
            stage.append(ResidualMerge(config.dims[index - 1], dim, num_tokens))
        for _ in range(depth):
            rate = rates.pop(0)
            block = Block(
                dim,
                num_heads=config.heads[index],
                num_tokens=num_tokens,
                mlp_ratio=config.mlp_ratios[index],
                window_size=config.window_size,
                drop_path=rate,
                image_only=dense and not rates,  # the last block of all
            )
            stage.append(block)
        stages.append(stage)
    return stages


def initialize(module: nn.Module) -> None:
    """Start linear layers and position biases as upstream's classifier does."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, LightViTAttention):
        nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)


class LightViTBackbone(nn.Module):
    """Stem and stages; `stage_outputs()` gives the sequences after the three stages."""

    def __init__(
        self, config: LightViTConfig, *, num_tokens: int, dense: bool, drop_path: float
    ) -> None:
        super().__init__()
        self.config = config
        self.global_token = nn.Parameter(torch.zeros(1, num_tokens, config.dims[0]))
        self.patch_embed = ConvStem(config.dims[0])
        self.stages = build_stages(config, num_tokens=num_tokens, dense=dense, drop_path=drop_path)
        nn.init.trunc_normal_(self.global_token, std=0.02)
        self.stages.apply(initialize)

    def stage_outputs(self, x: Tensor) -> list[tuple[Tensor, Size]]:
        """Run the backbone.

        Args:
            x: float (B, 3, H, W), normalized RGB; any size from 1x1 up.

        Returns:
            Three pairs: tokens (B, T + h * w, dims[i]), unnormalized, and the size (h, w), H and W
            over strides 8, 16 and 32, rounded up. T is the number of global tokens, which the
            dense form has dropped from the last pair.
        """
        x, size = self.patch_embed(x)
        x = torch.cat((self.global_token.expand(x.shape[0], -1, -1), x), dim=1)
        outputs = []
        for stage in self.stages:
            x, size = stage(x, size)
            outputs.append((x, size))
        return outputs


class LightViT(LightViTBackbone):
    """Classifier: the mean over all tokens, global ones included, after `neck`, through `head`.

    The windows must divide the maps of all stages: a side is a multiple of 224, or up to 7 less.
    """

    def __init__(
        self, config: LightViTConfig, num_classes: int = 1000, drop_path: float = 0.0
    ) -> None:
        super().__init__(config, num_tokens=config.num_tokens, dense=False, drop_path=drop_path)
        dim, neck_dim = config.dims[-1], config.neck_dim
        self.norm = nn.LayerNorm(dim, eps=BLOCK_EPS)
        self.neck = nn.Sequential(nn.Linear(dim, neck_dim), nn.LayerNorm(neck_dim), nn.GELU())
        self.head = nn.Linear(neck_dim, num_classes)
        self.neck.apply(initialize)
        self.head.apply(initialize)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, num_classes).

        Raises:
            ModelError: if the windows do not divide the maps, naming the nearest size that they do.
        """
        require_whole_windows((x.shape[2], x.shape[3]), self.config.window_size)
        tokens, _ = self.stage_outputs(x)[-1]  # (B, N, C)
        return self.head(self.neck(self.norm(tokens)).mean(dim=1))


class LightViTPyramid(LightViTBackbone):
    """Dense backbone: the image tokens of the three stages as maps, each through a LayerNorm."""

    def __init__(self, config: LightViTConfig, drop_path: float = 0.0) -> None:
        super().__init__(
            config, num_tokens=config.num_dense_tokens, dense=True, drop_path=drop_path
        )
        self.norm0, self.norm1, self.norm2 = (
            nn.LayerNorm(dim, eps=BLOCK_EPS) for dim in config.dims
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) of any size to three feature maps at strides 8, 16 and 32."""
        norms = (self.norm0, self.norm1, self.norm2)
        return [
            # (B, T + H * W, C) -> (B, H * W, C) -> (B, C, H, W)
            norm(tokens[:, -height * width :]).transpose(1, 2).unflatten(2, (height, width))
            for norm, (tokens, (height, width)) in zip(norms, self.stage_outputs(x), strict=True)
        ]


def require_whole_windows(image_size: Size, window_size: int) -> None:
    """Check that the windows divide the maps at strides 8, 16 and 32.

    Args:
        image_size: (height, width) in pixels.
        window_size: height and width of an attention window in tokens.

    Raises:
        ModelError: if they do not, naming the nearest size where they do.
    """
    tokens = 4 * window_size  # two merges halve the map
    if all(-(-side // STEM_STRIDE) % tokens == 0 for side in image_size):  # the stem rounds up
        return
    step = tokens * STEM_STRIDE
    height, width = (max(1, round(side / step)) * step for side in image_size)
    window = f"{window_size}x{window_size}"
    raise ModelError(
        f"an image of {image_size[0]}x{image_size[1]} (height x width) does not divide into whole "
        f"{window} windows at strides 8, 16 and 32; each side must be a multiple of {step}, or up "
        f"to {STEM_STRIDE - 1} less. Pass {height}x{width}, the nearest multiples"
    )
