"""Non-maximum suppression and the cutting out of boxes, in plain PyTorch operations.

Papers: Girshick et al., arXiv:1311.2524 (suppression); He et al., "Mask R-CNN", arXiv:1703.06870
(RoIAlign); Lin et al., "Feature Pyramid Networks", arXiv:1612.03144 (choice of the level).
Repository: github.com/open-mmlab/mmcv (Apache-2.0), `nms` and `roi_align`. Written anew.

Both are modules without parameters, so that an exporter can put a runtime's own operators in their
place. Boxes are float (..., 4), xyxy, in pixels of the network's input.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

BASE_SIDE = 56  # boxes from twice this side on, in pixels, are cut out of the second level
CHUNK = 32  # boxes cut out at once, which bounds memory


def pairwise_iou(box: Tensor, boxes: Tensor) -> Tensor:
    """Intersection over union of one box (4,) and others (N, 4): (N,), 0 where both are empty."""
    corner, opposite = torch.maximum(box[:2], boxes[:, :2]), torch.minimum(box[2:], boxes[:, 2:])
    shared = (opposite - corner).clamp(min=0).prod(dim=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    union = (box[2:] - box[:2]).prod() + areas - shared
    return shared / union.clamp(min=torch.finfo(union.dtype).tiny)


class NMS(nn.Module):
    """Take the best box again and again, each time without those of its group that overlap it.

    Args:
        iou_threshold: overlap above which the worse of two boxes of a group goes.
        limit: how many boxes are taken.
    """

    def __init__(self, iou_threshold: float, limit: int) -> None:
        super().__init__()
        self.iou_threshold = iou_threshold
        self.limit = limit

    def forward(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Choose boxes.

        Args:
            boxes: (G, N, 4) in G groups that do not suppress each other.
            scores: (G, N), positive; a box with another score is never taken.

        Returns:
            Places int64 (limit,) in the flattened G*N boxes, the best first, and their scores
            (limit,), which are 0 where too few boxes remained.
        """
        remaining = scores.detach().clamp(min=0)
        groups, count = torch.arange(len(boxes), device=boxes.device), boxes.shape[1]
        members = torch.arange(count, device=boxes.device)
        places, kept = [], []
        for _ in range(self.limit):
            score, place = remaining.flatten().max(dim=0)
            group, member = place // count, place % count
            rivals = boxes.index_select(0, group[None])[0]
            overlaps = pairwise_iou(rivals.index_select(0, member[None])[0], rivals)
            # An empty box does not overlap itself.
            taken = (overlaps > self.iou_threshold) | (members == member)
            remaining = remaining.masked_fill((groups == group)[:, None] & taken, 0)
            places.append(place)
            kept.append(score)
        return torch.stack(places), torch.stack(kept)


def axis_weights(starts: Tensor, ends: Tensor, side: int, cells: int) -> Tensor:
    """How much every place of an axis counts in every cell of an interval.

    A cell is the mean of evenly spaced samples, one for each place that it spans, rounded up. A
    sample is interpolated between the two places around it; beyond the axis it is 0, but up to one
    place beyond it counts as the outermost place.

    Args:
        starts: (R,) in places; 0 is the middle of the first of `side` places.
        ends: (R,) alike, at most `side` places later, and a part of one.
        side: length of the axis.
        cells: number of equal cells in an interval.

    Returns:
        Weights (R, cells, side).
    """
    span = ((ends - starts) / cells)[:, None, None]
    samples = span.ceil()
    index = torch.arange(side // cells + 1).to(starts)
    cell = torch.arange(cells).to(starts)[:, None]
    at = (
        starts[:, None, None] + (cell + (index + 0.5) / samples.clamp(min=1)) * span
    )  # (R, cells, S)
    counts = (index < samples) & (at >= -1) & (at <= side)
    distances = at.clamp(0, side - 1)[..., None] - torch.arange(side).to(starts)
    weights = (1 - distances.abs()).clamp(min=0) * counts[..., None]  # (R, cells, S, side)
    return weights.sum(dim=2) / samples.clamp(min=1)


class RoIAlign(nn.Module):
    """Cut boxes out of the level that fits their size, each to a square of cells.

    Bilinear samples, as many for a cell as it spans places, rounded up (a sampling ratio of 0),
    with places in the middle of their pixels (aligned). As rows and columns are independent, a cut
    is a product of two matrices with the map.

    Args:
        cells: side of the square.
        strides: of the levels, the finest first, each twice the one before.
    """

    def __init__(self, cells: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.cells = cells
        self.strides = tuple(strides)

    def level_of(self, boxes: Tensor) -> Tensor:
        """Which level boxes (R, 4) are cut out of, int64 (R,)."""
        sides = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sqrt()
        levels = (sides / BASE_SIDE + 1e-6).log2().floor()
        return levels.clamp(0, len(self.strides) - 1).long()

    def forward(self, levels: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Map levels (C, H, W) and boxes (R, 4) of one image to cuts (R, C, cells, cells)."""
        return torch.cat([self.cut(levels, chunk) for chunk in torch.split(boxes, CHUNK)])

    def cut(self, levels: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Cut boxes (R, 4) out of levels (C, H, W): (R, C, cells, cells)."""
        chosen = self.level_of(boxes)
        cuts = []
        for index, (level, stride) in enumerate(zip(levels, self.strides, strict=True)):
            left, top, right, bottom = (boxes / stride - 0.5).unbind(dim=1)
            rows = axis_weights(top, bottom, level.shape[1], self.cells)
            columns = axis_weights(left, right, level.shape[2], self.cells)
            rows = rows * (chosen == index)[:, None, None]
            channels, _, width = level.shape
            flat = rows.flatten(0, 1) @ level.transpose(0, 1).flatten(1)  # (R*cells, C*W)
            strips = flat.reshape(len(boxes), self.cells * channels, width)
            cut = strips @ columns.transpose(1, 2)  # (R, cells*C, cells)
            cuts.append(cut.reshape(len(boxes), self.cells, channels, self.cells))
        # (R, cells, C, cells) -> (R, C, cells, cells)
        return sum(cuts[1:], start=cuts[0]).transpose(1, 2)
