"""How a Semantic FPN's graph ends: in the best class of every cell, or in all logits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

from edgevit.core.heads import MapHead
from edgevit.export.checkpoint import StateDict
from edgevit.export.kinds import Comparison, Ending, Kind, Outputs, Size
from edgevit.models.semantic_fpn import SemanticFPN

STRIDE = 4  # input pixels for a cell of the head's map


class BestClass(nn.Module):
    """A segmenter that answers the best class.

    Args:
        segmenter: from images to logits.
    """

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to int64 (B, H/4, W/4)."""
        classes: Tensor = self.segmenter(x).argmax(dim=1)
        return classes


def compare_classes(logits: Tensor, outputs: Outputs) -> list[Comparison]:
    """The class chosen has the best logit, or one that is as good but for rounding."""
    values, classes = logits.numpy(), outputs["classes"]
    chosen = np.take_along_axis(values, classes[:, None], axis=1)[:, 0]
    return [Comparison("the best logit", chosen, values.max(axis=1))]


def compare_logits(logits: Tensor, outputs: Outputs) -> list[Comparison]:
    """The logits are the module's."""
    return [Comparison("a logit", outputs["logits"], logits.numpy())]


FORMS: dict[str, tuple[Callable[[nn.Module], nn.Module], Callable[..., list[Comparison]]]] = {
    "classes": (BestClass, compare_classes),
    "logits": (lambda segmenter: segmenter, compare_logits),
}


def semantic_fpn_ending(module: SemanticFPN, size: Size, form: str | None) -> Ending:
    """How the graph of a Semantic FPN ends.

    Args:
        module: the segmenter.
        size: input (height, width) in pixels.
        form: `classes`, which is the default, or `logits`.
    """
    form = form or next(iter(FORMS))
    attach, compare = FORMS[form]
    return Ending(MapHead(form, STRIDE).to_dict(), (form,), attach, compare, (form,))


def _num_classes(weights: StateDict) -> int | None:
    weight = weights.get("decode_head.conv_seg.weight")
    return None if weight is None else weight.shape[0]


def _widths(weights: StateDict) -> dict[str, int]:
    """Channels of neck and head."""
    lateral = weights.get("neck.lateral_convs.0.conv.weight")
    last = weights.get("decode_head.conv_seg.weight")
    if lateral is None or last is None:
        return {}
    return {"channels": lateral.shape[0], "head_channels": last.shape[1]}


SEMANTIC_FPN = Kind(_num_classes, _widths, semantic_fpn_ending, tuple(FORMS), size_step=32)
