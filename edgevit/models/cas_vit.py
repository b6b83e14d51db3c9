"""CAS-ViT: convolutional additive self-attention vision transformers.

Paper: Zhang et al., "CAS-ViT: Convolutional Additive Self-attention Vision Transformers for
Efficient Mobile Applications", arXiv:2408.03703.
Repository: github.com/Tianfang-Zhang/CAS-ViT (MIT), `classification/model/rcvit.py`. Written anew
from the paper and the published state-dict keys; parameter names are the official ones, so
official checkpoints load strictly.

Differences from upstream:
    - Two modules share one backbone: `CASViT` (logits) and `CASViTPyramid` (four feature maps),
      instead of one copy of the model for each task.
    - No weight initialization from files; stochastic depth is one plain number.
    - In training mode `CASViT` answers the mean of its two heads too (upstream returns the pair).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgevit.models.drop_path import DropPath


@dataclass(frozen=True)
class CASViTConfig:
    """Depth and width of the four stages.

    Args:
        depths: number of blocks in each stage.
        dims: channels of each stage; the stages run at strides 4, 8, 16 and 32.
        mlp_ratio: hidden over input channels of every MLP.
    """

    depths: tuple[int, int, int, int]
    dims: tuple[int, int, int, int]
    mlp_ratio: int = 4


CONFIGS = {
    "cas_vit_xs": CASViTConfig(depths=(2, 2, 4, 2), dims=(48, 56, 112, 220)),
    "cas_vit_s": CASViTConfig(depths=(3, 3, 6, 3), dims=(48, 64, 128, 256)),
    "cas_vit_m": CASViTConfig(depths=(3, 3, 6, 3), dims=(64, 96, 192, 384)),
    "cas_vit_t": CASViTConfig(depths=(3, 3, 6, 3), dims=(96, 128, 256, 512)),
}


def depthwise_conv(dim: int) -> nn.Conv2d:
    """A 3x3 convolution of each channel alone, stride 1, size kept."""
    return nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=dim)


class SpatialOperation(nn.Module):
    """Gate each position: `x * sigmoid(one channel computed from x)`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            depthwise_conv(dim),
            nn.BatchNorm2d(dim),
            nn.ReLU(),
            nn.Conv2d(dim, 1, kernel_size=1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, C, H, W)."""
        return x * self.block(x)  # (B, C, H, W) * (B, 1, H, W)


class ChannelOperation(nn.Module):
    """Gate each channel: `x * sigmoid(1x1 convolution of the pooled x)`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(dim, dim, kernel_size=1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, C, H, W)."""
        return x * self.block(x)  # (B, C, H, W) * (B, C, 1, 1)


class LocalIntegration(nn.Module):
    """1x1, depthwise 3x3 and 1x1 convolutions that mix near positions."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(dim, dim, kernel_size=1),
            nn.BatchNorm2d(dim),
            depthwise_conv(dim),
            nn.GELU(),
            nn.Conv2d(dim, dim, kernel_size=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, C, H, W)."""
        return self.network(x)


class AdditiveTokenMixer(nn.Module):
    """Convolutional additive self-attention: `proj(dwc(gate(q) + gate(k)) * v)`, linear in H*W."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(dim, 3 * dim, kernel_size=1, bias=False)
        self.oper_q = nn.Sequential(SpatialOperation(dim), ChannelOperation(dim))
        self.oper_k = nn.Sequential(SpatialOperation(dim), ChannelOperation(dim))
        self.dwc = depthwise_conv(dim)
        self.proj = depthwise_conv(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, C, H, W)."""
        query, key, value = self.qkv(x).chunk(3, dim=1)  # (B, 3C, H, W) -> 3 x (B, C, H, W)
        return self.proj(self.dwc(self.oper_q(query) + self.oper_k(key)) * value)


class MLP(nn.Module):
    """Two 1x1 convolutions with GELU between."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, hidden_dim, kernel_size=1)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(hidden_dim, dim, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, C, H, W)."""
        return self.fc2(self.act(self.fc1(x)))


class AdditiveBlock(nn.Module):
    """Local integration, additive token mixer and MLP, each with a residual."""

    def __init__(self, dim: int, mlp_ratio: int = 4, drop_path: float = 0.0) -> None:
        super().__init__()
        self.local_perception = LocalIntegration(dim)
        self.norm1 = nn.BatchNorm2d(dim)
        self.attn = AdditiveTokenMixer(dim)
        self.norm2 = nn.BatchNorm2d(dim)
        self.mlp = MLP(dim, dim * mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, C, H, W)."""
        x = x + self.local_perception(x)
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Embedding(nn.Module):
    """Strided 3x3 convolution between two stages; halves height and width, rounding up."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_dim, out_dim, kernel_size=3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_dim, H, W) to (B, out_dim, H/2, W/2), sizes rounded up."""
        return self.norm(self.proj(x))


def build_stem(dim: int) -> nn.Sequential:
    """Two strided 3x3 convolutions: an RGB image to `dim` channels at stride 4."""
    return nn.Sequential(
        nn.Conv2d(3, dim // 2, kernel_size=3, stride=2, padding=1),
        nn.BatchNorm2d(dim // 2),
        nn.ReLU(),
        nn.Conv2d(dim // 2, dim, kernel_size=3, stride=2, padding=1),
        nn.BatchNorm2d(dim),
        nn.ReLU(),
    )


def build_network(config: CASViTConfig, drop_path: float) -> nn.ModuleList:
    """Stages at the even places, the embeddings between them at the odd ones."""
    rates = torch.linspace(0, drop_path, sum(config.depths), device="cpu").tolist()
    network = nn.ModuleList()
    for stage, (depth, dim) in enumerate(zip(config.depths, config.dims, strict=True)):
        if stage > 0:
            network.append(Embedding(config.dims[stage - 1], dim))
        stage_rates, rates = rates[:depth], rates[depth:]
        network.append(
            nn.Sequential(*(AdditiveBlock(dim, config.mlp_ratio, rate) for rate in stage_rates))
        )
    return network


class CASViTBackbone(nn.Module):
    """Stem and stages; `stages()` gives the four unnormalized feature maps."""

    def __init__(self, config: CASViTConfig, drop_path: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = build_stem(config.dims[0])
        self.network = build_network(config, drop_path)

    def stages(self, x: Tensor) -> list[Tensor]:
        """Run the backbone.

        Args:
            x: float (B, 3, H, W), normalized RGB; any size from 1x1 up.

        Returns:
            Four tensors (B, dims[i], H/s, W/s), strides s = 4, 8, 16, 32, sizes rounded up.
        """
        x = self.patch_embed(x)
        features = []
        for index, module in enumerate(self.network):
            x = module(x)
            if index % 2 == 0:
                features.append(x)
        return features


class CASViT(CASViTBackbone):
    """Classifier: logits are the mean of `head` and the distillation head `dist_head`."""

    def __init__(
        self, config: CASViTConfig, num_classes: int = 1000, drop_path: float = 0.0
    ) -> None:
        super().__init__(config, drop_path)
        self.norm = nn.BatchNorm2d(config.dims[-1])
        self.head = nn.Linear(config.dims[-1], num_classes)
        self.dist_head = nn.Linear(config.dims[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, num_classes)."""
        pooled = self.norm(self.stages(x)[-1]).mean(dim=(2, 3))  # (B, C, H, W) -> (B, C)
        return (self.head(pooled) + self.dist_head(pooled)) / 2


class CASViTPyramid(CASViTBackbone):
    """Dense backbone: the four stage outputs, each through its own BatchNorm."""

    def __init__(self, config: CASViTConfig, drop_path: float = 0.0) -> None:
        super().__init__(config, drop_path)
        # Official names count places in `network`, hence the even numbers.
        self.norm0, self.norm2, self.norm4, self.norm6 = map(nn.BatchNorm2d, config.dims)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) to four feature maps at strides 4, 8, 16 and 32."""
        norms = (self.norm0, self.norm2, self.norm4, self.norm6)
        return [norm(feature) for norm, feature in zip(norms, self.stages(x), strict=True)]
