"""LITv2: vision transformers with HiLo attention.

Paper: Pan et al., "Fast Vision Transformers with HiLo Attention", arXiv:2205.13213. Deformable
token merging: Pan et al., "Less is More: Pay Less Attention in Vision Transformers",
arXiv:2105.14217.
Repository: github.com/ziplab/LITv2 (Apache-2.0), `classification/models/litv2.py` and
`detection/mmdet/models/backbones/litv2.py`. Written anew from the papers and the published
state-dict keys; parameter names are the official ones, so official checkpoints load strictly.

Differences from upstream:
    - Two modules share one backbone: `LITv2` (logits) and `LITv2Pyramid` (four feature maps),
      instead of one copy of the model for each task.
    - Feature maps stay channels-last (B, H, W, C) between blocks, so every module sees the true
      height and width. `LITv2` therefore takes rectangles and several sizes; upstream is built for
      one square size.
    - The deformable convolution is plain PyTorch: gathers of tokens, weighted and summed.
    - One HiLo for all tasks: it pads where upstream's classification form fails, and `LITv2`
      rejects the sizes that would need it.
    - PyTorch's own weight initialization; only the merges' offsets start at zero, as upstream.
"""

import math
from dataclasses import dataclass, replace
from itertools import islice, product

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgevit.errors import ModelError
from edgevit.models.drop_path import DropPath

PATCH = 4  # side of a patch in pixels, the stride of the first stage


@dataclass(frozen=True)
class LITv2Config:
    """Depth, width and attention of the four stages.

    Args:
        depths: number of blocks in each stage.
        dims: channels of each stage, each twice the one before; strides are 4, 8, 16 and 32.
        num_heads: attention heads of each stage.
        alpha: share of the heads that HiLo gives to low frequencies, rounded down.
        windows: side of HiLo's windows in each stage, in tokens; 1 is plain attention, 0 none.
        mlp_ratio: hidden over input channels of every MLP.
    """

    depths: tuple[int, int, int, int]
    dims: tuple[int, int, int, int]
    num_heads: tuple[int, int, int, int]
    alpha: float = 0.9
    windows: tuple[int, int, int, int] = (0, 0, 2, 1)
    mlp_ratio: int = 4

    @property
    def size_step(self) -> int:
        """Pixels of which a side must be a multiple for windows and merges to come out even."""
        windows = [window * 2**stage for stage, window in enumerate(self.windows) if window > 0]
        return PATCH * math.lcm(8, *windows)


LITV2_S = LITv2Config(depths=(2, 2, 6, 2), dims=(96, 192, 384, 768), num_heads=(3, 6, 12, 24))
LITV2_M = replace(LITV2_S, depths=(2, 2, 18, 2))
LITV2_B = replace(LITV2_M, dims=(128, 256, 512, 1024), num_heads=(4, 8, 16, 32))

CONFIGS = {
    "litv2_s": LITV2_S,
    "litv2_m": LITV2_M,
    "litv2_b": LITV2_B,
    "litv2_b_384": LITV2_B,
    "litv2_s_alpha0.0": replace(LITV2_S, alpha=0.0),
    "litv2_s_alpha0.2": replace(LITV2_S, alpha=0.2),
    "litv2_s_alpha0.4": replace(LITV2_S, alpha=0.4),
    "litv2_s_alpha0.5": replace(LITV2_S, alpha=0.5),
    "litv2_s_alpha0.7": replace(LITV2_S, alpha=0.7),
    "litv2_s_alpha1.0": replace(LITV2_S, alpha=1.0),
}


def split_windows(x: Tensor, window: int) -> Tensor:
    """Map (B, H, W, C) to windows of tokens (B, H/window, W/window, window*window, C)."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // window, window, width // window, window, channels)
    return x.transpose(2, 3).flatten(3, 4)  # (B, H/s, W/s, s, s, C) -> (B, H/s, W/s, s*s, C)


def join_windows(x: Tensor, window: int) -> Tensor:
    """Map windows of tokens (B, H/window, W/window, window*window, C) to (B, H, W, C)."""
    batch, rows, columns, _, channels = x.shape
    x = x.reshape(batch, rows, columns, window, window, channels).transpose(2, 3)
    return x.reshape(batch, rows * window, columns * window, channels)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Map tokens (..., N, C) to (..., num_heads, N, C/num_heads)."""
    return x.reshape(*x.shape[:-1], num_heads, -1).transpose(-3, -2)


def attend(query: Tensor, key: Tensor, value: Tensor, num_heads: int) -> Tensor:
    """Scaled dot-product attention of several heads.

    Args:
        query: tokens (..., N, C).
        key: tokens (..., M, C).
        value: tokens (..., M, C).
        num_heads: the channels are split evenly into this many heads.

    Returns:
        Tokens (..., N, C).
    """
    query, key, value = (split_heads(x, num_heads) for x in (query, key, value))
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5  # (..., num_heads, N, M)
    mixed = scores.softmax(dim=-1) @ value  # (..., num_heads, N, C/num_heads)
    return mixed.transpose(-3, -2).flatten(-2)


class HiLo(nn.Module):
    """Attention in two groups of heads, one for high frequencies and one for low ones.

    High-frequency heads attend inside each window. Low-frequency heads let every token attend to
    the averages of all windows. Their outputs are concatenated, high frequencies first.

    Args:
        dim: channels, a multiple of `num_heads`.
        num_heads: heads of both groups together.
        window: side of a window in tokens; with 1, all heads are low-frequency ones, which then is
            plain attention.
        alpha: share of low-frequency heads, in [0, 1]; their number is rounded down.
        qkv_bias: whether queries, keys and values have a bias.

    Example:
        >>> HiLo(64, num_heads=4, window=2, alpha=0.5)(torch.zeros(1, 14, 14, 64)).shape
        torch.Size([1, 14, 14, 64])

    Source:
        Section 3.2 of arXiv:2205.13213; `hilo.py` of the repository.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        window: int = 2,
        alpha: float = 0.5,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__()
        self.window = window
        self.low_heads = num_heads if window == 1 else int(num_heads * alpha)
        self.high_heads = num_heads - self.low_heads
        low_dim = dim // num_heads * self.low_heads
        high_dim = dim - low_dim
        if self.low_heads > 0:
            self.l_q = nn.Linear(dim, low_dim, bias=qkv_bias)
            self.l_kv = nn.Linear(dim, 2 * low_dim, bias=qkv_bias)
            self.l_proj = nn.Linear(low_dim, low_dim)
        if self.high_heads > 0:
            self.h_qkv = nn.Linear(dim, 3 * high_dim, bias=qkv_bias)
            self.h_proj = nn.Linear(high_dim, high_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, H, W, C).

        Where height or width is no multiple of the window, zeros are added right and below and cut
        off again. Nothing masks them: they take part in attention and in the averages.
        """
        height, width = x.shape[1:3]
        right, bottom = -width % self.window, -height % self.window
        if right > 0 or bottom > 0:
            x = functional.pad(x, (0, 0, 0, right, 0, bottom))
        groups = []
        if self.high_heads > 0:
            groups.append(self.high_frequencies(x))
        if self.low_heads > 0:
            groups.append(self.low_frequencies(x))
        return torch.cat(groups, dim=-1)[:, :height, :width]

    def high_frequencies(self, x: Tensor) -> Tensor:
        """Attend inside each window: (B, H, W, C) to (B, H, W, C * high share)."""
        windows = split_windows(x, self.window)  # (B, H/s, W/s, s*s, C)
        query, key, value = self.h_qkv(windows).chunk(3, dim=-1)
        mixed = attend(query, key, value, self.high_heads)
        return self.h_proj(join_windows(mixed, self.window))

    def low_frequencies(self, x: Tensor) -> Tensor:
        """Attend to the windows' averages: (B, H, W, C) to (B, H, W, C * low share)."""
        averages = x if self.window == 1 else split_windows(x, self.window).mean(dim=3)
        query = self.l_q(x).flatten(1, 2)  # (B, H*W, C * low share)
        key, value = self.l_kv(averages).flatten(1, 2).chunk(2, dim=-1)  # (B, H/s*W/s, ...) each
        mixed = self.l_proj(attend(query, key, value, self.low_heads))
        return mixed.reshape(*x.shape[:3], -1)


class DepthwiseConv(nn.Module):
    """A 3x3 convolution of each channel alone, on a channels-last map."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, H, W, C)."""
        return self.dwconv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class MLP(nn.Module):
    """Two linear layers with a depthwise convolution and GELU between."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.dwconv = DepthwiseConv(hidden_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, H, W, C)."""
        return self.fc2(self.act(self.dwconv(self.fc1(x))))


class ConvolutionBlock(nn.Module):
    """MLP with a residual: a block of the stages without attention."""

    def __init__(self, dim: int, mlp_ratio: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, dim * mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, H, W, C)."""
        return x + self.drop_path(self.mlp(self.norm2(x)))


class AttentionBlock(nn.Module):
    """HiLo attention and MLP, each with a residual."""

    def __init__(self, dim: int, attention: HiLo, mlp_ratio: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, dim * mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, H, W, C)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


def neighbors(positions: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """The two whole places around each position on an axis, with their weights.

    Args:
        positions: float, any shape; 0 is the first of `size` places.
        size: length of the axis.

    Returns:
        Two pairs of places (int64, in range) and weights (like `positions`), the lower place first.
        A place beyond the axis has weight 0.
    """
    lower = positions.floor()
    return [
        (
            place.clamp(0, size - 1).long(),
            (1 - (positions - place).abs()) * ((place >= 0) & (place < size)),
        )
        for place in (lower, lower + 1)
    ]


def sample_bilinear(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Read a map at fractional positions, weighting the four tokens around each.

    Args:
        x: map (B, H, W, C).
        rows: positions (B, h, w, K) in tokens; 0 is the first row. Tokens beyond the map count as
            zeros, so only positions with -1 < row < H and -1 < column < W read anything.
        columns: positions (B, h, w, K), alike.

    Returns:
        Samples (B, h, w, K, C).
    """
    batch, height, width = x.shape[:3]
    tokens = x.flatten(0, 2)  # (B*H*W, C)
    first = torch.arange(batch, device=x.device).view(-1, 1, 1, 1) * (height * width)
    corners = product(neighbors(rows, height), neighbors(columns, width))
    # A look-up of embeddings rather than indexing, which would export as GatherND.
    parts = [
        functional.embedding(first + row * width + column, tokens)
        * (row_weight * column_weight).unsqueeze(-1)
        for (row, row_weight), (column, column_weight) in corners
    ]
    return sum(parts[1:], start=parts[0])


class DeformableConv(nn.Module):
    """A 2x2 convolution of stride 2 whose taps read where their own offsets say."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        plain = nn.Conv2d(in_dim, out_dim, kernel_size=2)
        self.weight, self.bias = plain.weight, plain.bias
        self.conv_offset = nn.Conv2d(in_dim, 2 * 4, kernel_size=2, stride=2)
        for parameter in self.conv_offset.parameters():
            nn.init.zeros_(parameter)

    def positions(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and columns that the taps read, (B, H/2, W/2, 4) each."""
        offsets = self.conv_offset(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # (B, H/2, W/2, 8)
        height, width = offsets.shape[1:3]
        tap = torch.arange(4, device=x.device)  # upper left, upper right, lower left, lower right
        rows = 2 * torch.arange(height, device=x.device)[:, None, None] + tap // 2
        columns = 2 * torch.arange(width, device=x.device)[:, None] + tap % 2
        # Even channels move a tap's row, odd ones its column.
        return rows + offsets[..., 0::2], columns + offsets[..., 1::2]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, in_dim) to (B, H/2, W/2, out_dim), sizes rounded down."""
        samples = sample_bilinear(x, *self.positions(x))  # (B, H/2, W/2, 4, in_dim)
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)  # (out_dim, 4*in_dim)
        return functional.linear(samples.flatten(3), weight, self.bias)


class DeformableTokenMerging(nn.Module):
    """End of a stage: deformable convolution, BatchNorm and GELU; half the size, twice the width.

    An odd last row or column has no output of its own; offsets can still read it.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dconv = DeformableConv(dim, 2 * dim)
        self.norm_layer = nn.BatchNorm2d(2 * dim)
        self.act_layer = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H/2, W/2, 2C), sizes rounded down."""
        x = self.norm_layer(self.dconv(x).permute(0, 3, 1, 2))  # (B, 2C, H/2, W/2)
        return self.act_layer(x).permute(0, 2, 3, 1)


class Stage(nn.Module):
    """Blocks at one resolution, then the merging that leads to the next stage."""

    def __init__(self, blocks: list[nn.Module], downsample: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, H, W, C) to the blocks' output, of that shape, and its merged form."""
        x = self.blocks(x)
        return x, self.downsample(x)


def build_stage(config: LITv2Config, index: int, rates: list[float]) -> Stage:
    """The stage at `index`, its blocks with these rates of stochastic depth."""
    dim, window = config.dims[index], config.windows[index]

    def block(rate: float) -> nn.Module:
        if window == 0:
            return ConvolutionBlock(dim, config.mlp_ratio, rate)
        attention = HiLo(dim, config.num_heads[index], window=window, alpha=config.alpha)
        return AttentionBlock(dim, attention, config.mlp_ratio, rate)

    is_last = index == len(config.dims) - 1
    return Stage(list(map(block, rates)), nn.Identity() if is_last else DeformableTokenMerging(dim))


class PatchEmbedding(nn.Module):
    """A 4x4 convolution of stride 4 and LayerNorm: an RGB image to a channels-last map."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, H/4, W/4, dim), sizes rounded down."""
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class LITv2Backbone(nn.Module):
    """Patch embedding and stages; `stages()` gives the four unnormalized feature maps."""

    def __init__(self, config: LITv2Config, drop_path: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbedding(config.dims[0])
        rates = iter(torch.linspace(0, drop_path, sum(config.depths), device="cpu").tolist())
        self.layers = nn.ModuleList(
            build_stage(config, index, list(islice(rates, depth)))
            for index, depth in enumerate(config.depths)
        )

    def stages(self, x: Tensor) -> list[Tensor]:
        """Run the backbone.

        Args:
            x: float (B, 3, H, W), normalized RGB, 32x32 or more.

        Returns:
            Four tensors (B, H/s, W/s, dims[i]), strides s = 4, 8, 16, 32, sizes rounded down.
        """
        x = self.patch_embed(x)
        features = []
        for stage in self.layers:
            feature, x = stage(x)
            features.append(feature)
        return features


def check_size(height: int, width: int, step: int) -> None:
    """Accept multiples of `step`, and up to 3 pixels more, which the patch embedding cuts off.

    Raises:
        ModelError: naming the nearest multiples.
    """
    sides = (height, width)
    if all(side >= step and side % step < PATCH for side in sides):
        return
    smaller = [max(step, side // step * step) for side in sides]
    larger = [max(step, -(-(side - PATCH + 1) // step) * step) for side in sides]
    nearest = dict.fromkeys(f"{height}x{width}" for height, width in (smaller, larger))
    raise ModelError(
        f"LITv2 takes heights and widths that are multiples of {step}, not {sides[0]}x{sides[1]}; "
        f"nearest: {' or '.join(nearest)}"
    )


def fill_patches(x: Tensor) -> Tensor:
    """Pad images (B, 3, H, W) with zeros, right and below, to whole patches.

    Raises:
        ModelError: if a side is below 29 pixels, which leaves no token in the last stage.
    """
    height, width = x.shape[-2:]
    smallest = 7 * PATCH + 1  # pads to 8 patches, which three merges halve to one token
    if min(height, width) < smallest:
        raise ModelError(
            f"LITv2Pyramid takes sides of {smallest} pixels or more, not {height}x{width}; "
            f"nearest: {max(height, smallest)}x{max(width, smallest)}"
        )
    return functional.pad(x, (0, -width % PATCH, 0, -height % PATCH))


class LITv2(LITv2Backbone):
    """Classifier: a linear head on the mean of the normalized tokens."""

    def __init__(
        self, config: LITv2Config, num_classes: int = 1000, drop_path: float = 0.0
    ) -> None:
        super().__init__(config, drop_path)
        self.norm = nn.LayerNorm(config.dims[-1])
        self.head = nn.Linear(config.dims[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, num_classes).

        Raises:
            ModelError: if height or width is no multiple of `config.size_step`, 32 for the
                published variants. Up to 3 pixels more are taken, and ignored, as upstream does.
        """
        check_size(x.shape[-2], x.shape[-1], self.config.size_step)
        tokens = self.norm(self.stages(x)[-1])  # (B, H/32, W/32, C)
        return self.head(tokens.mean(dim=(1, 2)))


class LITv2Pyramid(LITv2Backbone):
    """Dense backbone: the four stage outputs, each but the first through its own LayerNorm.

    Args:
        config: a classifier's; detectors exist with `windows=(0, 0, 4, 1)` too.
        drop_path: largest rate of stochastic depth.
        has_norm0: whether the first output has a LayerNorm as well, as upstream's segmentation
            backbone does and its detection backbone does not.
    """

    def __init__(
        self, config: LITv2Config, drop_path: float = 0.0, *, has_norm0: bool = False
    ) -> None:
        super().__init__(config, drop_path)
        self.norm0 = nn.LayerNorm(config.dims[0]) if has_norm0 else nn.Identity()
        self.norm1, self.norm2, self.norm3 = map(nn.LayerNorm, config.dims[1:])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) to four feature maps at strides 4, 8, 16 and 32.

        The image is padded with zeros, right and below, to a multiple of 4; from there every stage
        halves the size, rounding down.

        Raises:
            ModelError: if a side is below 29 pixels, which leaves no token in the last stage.
        """
        x = fill_patches(x)
        norms = (self.norm0, self.norm1, self.norm2, self.norm3)
        features = zip(norms, self.stages(x), strict=True)
        return [norm(feature).permute(0, 3, 1, 2) for norm, feature in features]
