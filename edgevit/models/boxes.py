"""Boxes inside models: anchors, and the coder that moves them.

Paper: Ren et al., "Faster R-CNN", arXiv:1506.01497. Repository: github.com/open-mmlab/mmdetection
(Apache-2.0), `AnchorGenerator` and `DeltaXYWHBBoxCoder`. Written anew.

Boxes are float (..., 4), xyxy, in pixels of the network's input.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from edgevit.core.model.heads import MAX_LOG_RATIO, AnchorGrid


def level_anchors(grid: AnchorGrid, stride: int, like: Tensor) -> Tensor:
    """Anchors of one level.

    Args:
        grid: the ratios and scales of the anchors of a cell.
        stride: pixels between two places.
        like: map (B, C, H, W) of this level, which gives size, dtype and device.

    Returns:
        Boxes (H*W*A, 4), row by row, then place by place, then by ratio and by scale. They are
        centered on the places' upper left corners, `stride * (column, row)`.
    """
    # Constants are made in float32, as upstream's are, and enter a graph as such.
    roots = torch.tensor(grid.ratios, dtype=torch.float32).sqrt()[:, None]
    scales = torch.tensor(grid.scales, dtype=torch.float32)
    width, height = (stride / roots * scales).flatten(), (stride * roots * scales).flatten()
    shapes = torch.stack((-width, -height, width, height), dim=1) / 2  # (A, 4)
    rows, columns = (torch.arange(side) * stride for side in like.shape[2:])
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    corners = torch.stack((x, y, x, y), dim=-1)  # (H, W, 4)
    return (corners[:, :, None] + shapes).flatten(0, 2).to(like)  # (H, W, A, 4) -> (H*W*A, 4)


def by_anchor(x: Tensor, width: int) -> Tensor:
    """Map a head's output (B, A*width, H, W) to (B, H*W*A, width), in the anchors' order."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, width)


def decode_deltas(
    boxes: Tensor, deltas: Tensor, stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """Move boxes by what a head says.

    Args:
        boxes: (..., 4) xyxy.
        deltas: (..., 4), the center's move over the box's sides, x first, and the logarithm of the
            sides' growth, width first; each divided by its entry of `stds`.
        stds: standard deviations that training normalized the deltas with.

    Returns:
        Boxes (..., 4) xyxy, not clipped.

    Example:
        >>> box, delta = torch.tensor([0.0, 0.0, 10.0, 20.0]), torch.tensor([0.5, 0.0, 0.0, 0.0])
        >>> decode_deltas(box, delta).tolist()
        [5.0, 0.0, 15.0, 20.0]
    """
    deltas = deltas * deltas.new_tensor(stds)
    sides = boxes[..., 2:] - boxes[..., :2]
    centers = (boxes[..., :2] + boxes[..., 2:]) / 2 + deltas[..., :2] * sides
    sides = sides * deltas[..., 2:].clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    return torch.cat((centers - sides / 2, centers + sides / 2), dim=-1)


def clip_boxes(boxes: Tensor, image_size: Tensor) -> Tensor:
    """Cut boxes (..., 4) at the borders of an image; `image_size` is (height, width), pixels."""
    limits = image_size.flip(0).repeat(2).to(boxes)  # width, height, width, height
    return torch.minimum(boxes.clamp(min=0), limits)
