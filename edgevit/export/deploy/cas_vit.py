"""CAS-ViT for inference.

Batch normalizations disappear into a convolution or linear layer beside them, both classifier heads
become one, and the token mixer takes the form that runtimes on a processor execute fastest at the
input size:

    - Large maps are bound by memory: query, key and value are three convolutions, so that nothing
      is split or concatenated.
    - Small maps are bound by the number of operations: query and key lie side by side as 2C
      channels, and one operation does what took two.
"""

import math

import torch
from torch import Tensor, nn

from edgevit.export.deploy import fold
from edgevit.models import cas_vit

# Values (channels x height x width) up to which the joint form was the faster one: CAS-ViT-S gains
# from it at 128x14x14, CAS-ViT-M no longer at 192x14x14.
SMALL_MAP = 32 * 1024


class SpatialGate(nn.Module):
    """Gates of one or several spatial operations, whose operands lie side by side."""

    def __init__(self, *operations: nn.Module) -> None:
        super().__init__()
        blocks = [fold.children(fold.only_child(operation)) for operation in operations]
        self.depthwise = _side_by_side(
            [fold.fold_batchnorm_into_previous(conv, norm) for conv, norm, *_ in blocks]
        )
        self.reduce = _block_diagonal([reduce for *_, reduce, _ in blocks])

    def forward(self, x: Tensor) -> Tensor:
        """Map n operands (B, n*C, H, W) to n gates (B, n, H, W)."""
        return torch.sigmoid(self.reduce(torch.relu(self.depthwise(x))))


class SeparateMixer(nn.Module):
    """Token mixer for large maps: query, key and value each on their own."""

    def __init__(self, norm: nn.BatchNorm2d, mixer: cas_vit.AdditiveTokenMixer) -> None:
        super().__init__()
        self.query, self.key, self.value = _qkv_parts(norm, mixer.qkv, 1, 1, 1)
        self.spatial_q, self.channel_q = self._gates(mixer.oper_q)
        self.spatial_k, self.channel_k = self._gates(mixer.oper_k)
        self.dwc, self.proj = mixer.dwc, mixer.proj

    @staticmethod
    def _gates(operations: nn.Sequential) -> tuple[nn.Module, nn.Module]:
        spatial, channel = operations
        return SpatialGate(spatial), fold.only_child(channel)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        query = self.query(x)
        query = query * self.spatial_q(query)
        query = query * self.channel_q(query)
        key = self.key(x)
        key = key * self.spatial_k(key)
        key = key * self.channel_k(key)
        return self.proj(self.dwc(query + key) * self.value(x))


class JointMixer(nn.Module):
    """Token mixer for small maps: query and key as one tensor of 2C channels.

    The gates are applied with channels last, where runtimes keep them anyway, and where query and
    key are neighboring columns: (B, H, W, 2, C) is (B, H, 2W, C). `dwc` then adds the two by
    itself: with every column of its kernel written twice, and a horizontal stride of 2.
    """

    def __init__(self, norm: nn.BatchNorm2d, mixer: cas_vit.AdditiveTokenMixer) -> None:
        super().__init__()
        self.query_key, self.value = _qkv_parts(norm, mixer.qkv, 2, 1)
        (spatial_q, channel_q), (spatial_k, channel_k) = mixer.oper_q, mixer.oper_k
        self.spatial = SpatialGate(spatial_q, spatial_k)
        channels = (fold.children(fold.only_child(channel)) for channel in (channel_q, channel_k))
        self.channel = _side_by_side([conv for _, conv, _ in channels])
        dim = mixer.dwc.out_channels
        columns = mixer.dwc.weight.repeat_interleave(2, dim=3)
        self.dwc = fold.conv_from(
            columns, mixer.dwc.bias, groups=dim, stride=(1, 2), padding=(1, 2)
        )
        self.proj = mixer.proj

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        dim, height, width = x.shape[1:]
        query_key = self.query_key(x)  # (B, C, H, W) -> (B, 2C, H, W)
        gates = self.spatial(query_key).permute(0, 2, 3, 1).unsqueeze(4)  # -> (B, H, W, 2, 1)
        tokens = query_key.permute(0, 2, 3, 1).reshape(-1, height, width, 2, dim) * gates
        gates = self._channel_gates(tokens.reshape(-1, height * width, 2 * dim))
        tokens = tokens * gates.reshape(-1, 1, 1, 2, dim)
        columns = tokens.reshape(-1, height, 2 * width, dim).permute(0, 3, 1, 2)
        return self.proj(self.dwc(columns) * self.value(x))  # (B, C, H, 2W) -> (B, C, H, W)

    def _channel_gates(self, tokens: Tensor) -> Tensor:
        # The mean as a product: ONNX Runtime reduces over rows several times more slowly.
        positions, channels = tokens.shape[1:]
        means = tokens.new_full((1, positions), 1 / positions) @ tokens  # (B, N, 2C) -> (B, 1, 2C)
        return torch.sigmoid(self.channel(means.reshape(-1, channels, 1, 1)))


class DeployBlock(nn.Module):
    """`AdditiveBlock` with its normalizations folded into the convolutions around them."""

    def __init__(self, block: cas_vit.AdditiveBlock, positions: int) -> None:
        super().__init__()
        conv, norm, *others = fold.children(block.local_perception.network)
        self.local_perception = nn.Sequential(
            fold.fold_batchnorm_into_previous(conv, norm), *others
        )
        small = positions * block.norm1.num_features <= SMALL_MAP
        mixer = JointMixer if small else SeparateMixer
        self.attn = mixer(block.norm1, block.attn)
        self.mlp = block.mlp
        self.mlp.fc1 = fold.fold_batchnorm_into_next(block.norm2, block.mlp.fc1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        x = x + self.local_perception(x)
        x = x + self.attn(x)
        return x + self.mlp(x)


def _qkv_parts(norm: nn.BatchNorm2d, qkv: nn.Conv2d, *sizes: int) -> list[nn.Conv2d]:
    """The convolution of query, key and value after `norm`, cut into parts of `sizes` * C."""
    folded = fold.fold_batchnorm_into_next(norm, qkv)
    assert folded.bias is not None
    dims = [size * folded.in_channels for size in sizes]
    parts = zip(torch.split(folded.weight, dims), torch.split(folded.bias, dims), strict=True)
    return [fold.conv_from(weight, bias) for weight, bias in parts]


def _side_by_side(convs: list[nn.Conv2d]) -> nn.Conv2d:
    """One grouped convolution that does each of `convs` on its own channels."""
    weights, biases = ([getattr(conv, name) for conv in convs] for name in ("weight", "bias"))
    bias = None if biases[0] is None else torch.cat(biases)
    groups = sum(conv.groups for conv in convs)
    return fold.conv_from(torch.cat(weights), bias, groups=groups, padding=convs[0].padding)


def _block_diagonal(convs: list[nn.Conv2d]) -> nn.Conv2d:
    """`_side_by_side` without groups, for which runtimes have no fast kernel at one output each."""
    dim = convs[0].in_channels
    weight = convs[0].weight.new_zeros(len(convs), len(convs) * dim, 1, 1)
    for row, conv in enumerate(convs):
        weight[row, row * dim : (row + 1) * dim] = conv.weight[0]
    return fold.conv_from(weight, None)


class DeployBackbone(nn.Module):
    """Stem, stages and embeddings of CAS-ViT without normalizations."""

    def __init__(self, model: cas_vit.CASViTBackbone, input_size: tuple[int, int]) -> None:
        super().__init__()
        conv1, norm1, relu1, conv2, norm2, relu2 = fold.children(model.patch_embed)
        self.stem = nn.Sequential(
            fold.fold_batchnorm_into_previous(conv1, norm1),
            relu1,
            fold.fold_batchnorm_into_previous(conv2, norm2),
            relu2,
        )
        self.network = nn.ModuleList()
        for index, module in enumerate(fold.children(model.network)):
            stride = 4 << index // 2
            height, width = (math.ceil(side / stride) for side in input_size)
            self.network.append(_stage_or_embedding(module, height * width))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) to the four stages' outputs."""
        x = self.stem(x)
        features = []
        for index, module in enumerate(self.network):
            x = module(x)
            if index % 2 == 0:
                features.append(x)
        return features


def _stage_or_embedding(module: nn.Module, positions: int) -> nn.Module:
    if isinstance(module, cas_vit.Embedding):
        return fold.fold_batchnorm_into_previous(module.proj, module.norm)
    return nn.Sequential(*(DeployBlock(block, positions) for block in fold.children(module)))


class DeployClassifier(nn.Module):
    """`CASViT` without normalizations and with one head."""

    def __init__(self, model: cas_vit.CASViT, input_size: tuple[int, int]) -> None:
        super().__init__()
        self.backbone = DeployBackbone(model, input_size)
        self.head = fold.fold_batchnorm_into_heads(model.norm, model.head, model.dist_head)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, num_classes)."""
        return self.head(self.backbone(x)[-1].mean(dim=(2, 3)))


class DeployPyramid(nn.Module):
    """`CASViTPyramid` with only the four outputs' normalizations left, which end the graph."""

    def __init__(self, model: cas_vit.CASViTPyramid, input_size: tuple[int, int]) -> None:
        super().__init__()
        self.norms = nn.ModuleList([model.norm0, model.norm2, model.norm4, model.norm6])
        self.backbone = DeployBackbone(model, input_size)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) to four feature maps at strides 4, 8, 16 and 32."""
        return [norm(map_) for norm, map_ in zip(self.norms, self.backbone(x), strict=True)]
