"""Semantic FPN for inference.

Between the backbone's maps and the first ReLU everything is linear: a lateral 1x1 convolution, the
coarser map enlarged and added, the neck's 3x3 convolution and the head's, with its normalization.
At the finer levels one 5x5 convolution of the backbone's few channels and one 3x3 convolution of
the coarser map, which answers the four finer cells of each of its cells, do the same in about half
the arithmetic. At the border, where the head's convolution sees zeros instead of what the neck's
would have there, four thin strips are subtracted.

Enlarged maps are summed before they are enlarged, where they have the same size.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from edgevit.export.deploy import fold
from edgevit.models.fpn import LightViTFPN
from edgevit.models.semantic_fpn import SemanticFPN

# Share of the arithmetic below which the composed form pays for its rearrangements.
WORTH = 0.85


class Strip(nn.Module):
    """What two 3x3 convolutions in a row say of one row (or column) beyond a border.

    Args:
        first: the first convolution.
        second: the second one, which is to see zeros beyond the border.
        axis: 2 for a row, 3 for a column.
        is_last: whether the border is the lower or right one.
    """

    def __init__(self, first: nn.Conv2d, second: nn.Conv2d, axis: int, is_last: bool) -> None:
        super().__init__()
        near, far = (0, 2) if is_last else (2, 0)
        # A row beyond the upper border has the map's first one below it, and is above that one.
        weights = [
            conv.weight.select(axis, tap).unsqueeze(axis)
            for conv, tap in ((first, near), (second, far))
        ]
        # Corners are counted with the rows: they reach one cell further, columns end at the border.
        reach, width = ((0, 2), (0, 0)) if axis == 2 else ((1, 0), (1, 0))
        self.first = fold.conv_from(weights[0], first.bias, padding=reach)
        self.second = fold.conv_from(weights[1], None, padding=width)

    def forward(self, edge: Tensor) -> Tensor:
        """Map the outermost row (B, C, 1, W) or column (B, C, H, 1) to what it is to lose."""
        return self.second(self.first(edge))


class PlainLevel(nn.Module):
    """The neck's convolution and the head's first one, as they stand."""

    def __init__(self, smooth: nn.Conv2d, head: nn.Conv2d) -> None:
        super().__init__()
        self.smooth, self.head = smooth, head

    def forward(self, x: Tensor, merged: Sequence[Tensor]) -> Tensor:
        """Map the neck's (B, C, H, W), the first of `merged`, to (B, out, H, W)."""
        return self.head(self.smooth(merged[0]))


class ComposedLevel(nn.Module):
    """`PlainLevel` and what the neck does before it, on the backbone's map and the coarser one.

    Args:
        lateral: of the backbone's map.
        smooth: the neck's convolution.
        head: the head's first convolution, its normalization folded.
    """

    bias: Tensor  # (C, 1, 1)

    def __init__(self, lateral: nn.Conv2d, smooth: nn.Conv2d, head: nn.Conv2d) -> None:
        super().__init__()
        self.plain = PlainLevel(smooth, head)
        assert lateral.bias is not None
        assert smooth.bias is not None
        assert head.bias is not None
        # Zeros around the map must not have it, so it comes with the coarser map.
        self.register_buffer("bias", lateral.bias[:, None, None])
        self.lateral = fold.conv_from(lateral.weight, None)
        kernel, dtype = _composed(smooth, head), head.weight.dtype
        bias = head.bias.double() + head.weight.double().sum(dim=(2, 3)) @ smooth.bias.double()
        fine = torch.einsum("ocxy,cd->odxy", kernel, lateral.weight.double()[:, :, 0, 0])
        self.fine = fold.conv_from(fine.to(dtype), bias, padding=2)
        self.coarse = fold.conv_from(_of_four_cells(kernel).to(dtype), None, padding=1)
        self.columns, self.rows = (
            nn.ModuleList(Strip(smooth, head, axis, is_last) for is_last in (False, True))
            for axis in (3, 2)
        )

    def forward(self, x: Tensor, merged: Sequence[Tensor]) -> Tensor:
        """Run it.

        Args:
            x: the backbone's map (B, in, H, W).
            merged: the neck's maps from this level on, (B, C, H, W) and (B, C, H/2, W/2) at least.

        Returns:
            (B, out, H, W), before the ReLU.
        """
        coarser = merged[1] + self.bias
        if tuple(x.shape[2:]) != tuple(2 * side for side in coarser.shape[2:]):
            return self.plain(x, merged)
        y = F.pixel_shuffle(self.coarse(coarser), 2)
        for axis, strips in ((3, self.columns), (2, self.rows)):
            first, last = (
                strip(self._edge(x, coarser, axis, is_last)) for is_last, strip in enumerate(strips)
            )
            length = y.shape[axis]
            upper, inner, lower = torch.split(y, [1, length - 2, 1], dim=axis)
            y = torch.cat((upper - first, inner, lower - last), dim=axis)
        return self.fine(x) + y

    def _edge(self, x: Tensor, coarser: Tensor, axis: int, is_last: int) -> Tensor:
        """The first or last row or column of what the neck's convolution takes."""
        outer, other = (
            map_.narrow(axis, is_last * (map_.shape[axis] - 1), 1) for map_ in (x, coarser)
        )
        factors = (1.0, 2.0) if axis == 2 else (2.0, 1.0)
        return self.lateral(outer) + F.interpolate(other, scale_factor=factors, mode="nearest")


def _composed(first: nn.Conv2d, second: nn.Conv2d) -> Tensor:
    """The 5x5 kernel, float64 (out, in, 5, 5), of two 3x3 convolutions in a row."""
    out_dim, in_dim = second.out_channels, first.in_channels
    kernel = first.weight.new_zeros(out_dim, in_dim, 5, 5, dtype=torch.float64)
    for row in range(3):
        for column in range(3):
            tap = second.weight[:, :, row, column].double()
            part = (tap @ first.weight.double().flatten(1)).reshape(out_dim, in_dim, 3, 3)
            kernel[:, :, row : row + 3, column : column + 3] += part
    return kernel


def _of_four_cells(kernel: Tensor) -> Tensor:
    """Take a 5x5 kernel of an enlarged map to a 3x3 kernel of the map itself.

    Args:
        kernel: (out, in, 5, 5), for a map that every cell fills four cells of.

    Returns:
        (out * 4, in, 3, 3), outputs in the order of `pixel_shuffle`.
    """
    # Which of five finer cells lie in each of three coarser ones, seen from the first and from the
    # second finer cell of the middle one.
    cells = kernel.new_tensor(
        [
            [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]],
            [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]],
        ]
    )
    return torch.einsum("pxu,qyv,ocuv->opqcxy", cells, cells, kernel).flatten(0, 2)


def is_worth_composing(lateral: nn.Conv2d, smooth: nn.Conv2d, head: nn.Conv2d) -> bool:
    """Whether one convolution of each map is clearly less arithmetic than three in a row."""
    in_dim, dim, out_dim = lateral.in_channels, lateral.out_channels, head.out_channels
    steps = in_dim * dim + 9 * dim * dim + 9 * dim * out_dim
    return 25 * in_dim * out_dim + 9 * dim * out_dim < WORTH * steps


class DeployHead(nn.Module):
    """What follows the first convolution of a level, but for an enlargement at its end.

    Args:
        scale_head: the level's; its first convolution is done.
    """

    def __init__(self, scale_head: nn.Sequential) -> None:
        super().__init__()
        _, *layers = fold.children(scale_head)
        self.layers = nn.Sequential(nn.ReLU())
        for layer in layers[:-1]:
            self.layers.extend([layer] if isinstance(layer, nn.Upsample) else _folded(layer))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, h, w)."""
        return self.layers(x)


def _folded(unit: nn.Module) -> list[nn.Module]:
    conv, norm, relu = fold.children(unit)
    return [fold.fold_batchnorm_into_previous(conv, norm), relu]


class DeploySemanticFPN(nn.Module):
    """`SemanticFPN` for inference; its backbone is in deploy form already."""

    def __init__(self, model: SemanticFPN, input_size: tuple[int, int]) -> None:
        super().__init__()
        self.backbone, self.neck = model.backbone, model.neck
        scale_heads: list[nn.Sequential] = fold.children(model.decode_head.scale_heads)
        firsts: list[Any] = [_folded(scale_head[0])[0] for scale_head in scale_heads]
        laterals = [unit.conv for unit in fold.children(self.neck.lateral_convs)]
        smooths = [unit.conv for unit in fold.children(self.neck.fpn_convs)]
        self.finest = nn.Sequential()  # a level that is finer than every map of the backbone
        if isinstance(self.neck, LightViTFPN):
            self.finest = nn.Sequential(
                self.neck.extra_trans_convs[0], self.neck.extra_fpn_convs[0], firsts.pop(0)
            )
        self.levels = nn.ModuleList(map(_level, laterals, smooths, firsts))
        self.levels[-1] = PlainLevel(smooths[-1], firsts[-1])
        self.heads = nn.ModuleList(map(DeployHead, scale_heads))
        self.classify = model.decode_head.conv_seg

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, num_classes, H/4, W/4)."""
        maps = self.backbone(x)
        merged = self.neck.merge(maps)
        firsts = [self.finest(merged[0])] if len(self.finest) else []
        for place, (level, map_) in enumerate(zip(self.levels, maps, strict=True)):
            firsts.append(level(map_, merged[place:]))
        finest, *others = (head(y) for head, y in zip(self.heads, firsts, strict=True))
        for coarser in _sums(others):
            enlarged = F.interpolate(coarser, scale_factor=2.0, mode="bilinear")
            if enlarged.shape != finest.shape:
                enlarged = F.interpolate(enlarged, size=finest.shape[2:], mode="bilinear")
            finest = finest + enlarged
        return self.classify(finest)


def _level(lateral: nn.Conv2d, smooth: nn.Conv2d, head: nn.Conv2d) -> nn.Module:
    if is_worth_composing(lateral, smooth, head):
        return ComposedLevel(lateral, smooth, head)
    return PlainLevel(smooth, head)


def _sums(maps: Sequence[Tensor]) -> list[Tensor]:
    """One sum for all maps of a size."""
    sums: dict[tuple[int, ...], Tensor] = {}
    for map_ in maps:
        size = tuple(map_.shape)
        sums[size] = sums[size] + map_ if size in sums else map_
    return list(sums.values())
