"""How a Semantic FPN's graph ends: in the best class of every cell, or in all logits.

Classes can be those of smaller cells than the head's: its logits are enlarged first, which smooths
the borders between classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from edgevit.core.model.heads import MapHead
from edgevit.export.checkpoint.weights import StateDict
from edgevit.export.heads.base import Comparison, GraphHead, HeadExporter, Outputs, Size
from edgevit.models.semantic_fpn import SemanticFPN

STRIDE = 4  # input pixels for a cell of the head's map


class BestClass(nn.Module):
    """A segmenter that answers the best class.

    Args:
        segmenter: from images to logits at stride 4.
        stride: input pixels for a cell of the answer, 4, 2 or 1.
    """

    def __init__(self, segmenter: nn.Module, stride: int) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to int64 (B, H/stride, W/stride)."""
        return enlarged(self.segmenter(x), STRIDE // self.stride).argmax(dim=1)


def enlarged(logits: Tensor, factor: int) -> Tensor:
    """Enlarge logits (B, C, h, w) as upstream does, bilinearly, to (B, C, factor*h, factor*w)."""
    if factor == 1:
        return logits
    return F.interpolate(logits, scale_factor=factor, mode="bilinear", align_corners=False)


def compare_classes(logits: Tensor, outputs: Outputs) -> list[Comparison]:
    """The class chosen has the best logit, or one that is as good but for rounding."""
    classes = torch.from_numpy(outputs["classes"])
    values = enlarged(logits, classes.shape[1] // logits.shape[2])
    chosen = values.gather(1, classes[:, None])[:, 0]
    return [Comparison("the best logit", chosen.numpy(), values.amax(dim=1).numpy())]


def compare_logits(logits: Tensor, outputs: Outputs) -> list[Comparison]:
    """Pair the graph's logits with the module's, both float32 (1, C, h, w)."""
    return [Comparison("a logit", outputs["logits"], logits.numpy())]


@dataclass(frozen=True, slots=True)
class SegmenterOutput:
    """What a segmenter's graph may answer.

    Args:
        output: name of the output, and the kind of the spec's head.
        stride: input pixels for a cell of it.
    """

    output: str
    stride: int = STRIDE

    def attach(self, segmenter: nn.Module) -> nn.Module:
        """Wrap a segmenter so that it answers this output; the segmenter itself for logits."""
        return BestClass(segmenter, self.stride) if self.output == "classes" else segmenter


COMPARE: dict[str, Callable[[Tensor, Outputs], list[Comparison]]] = {
    "classes": compare_classes,
    "logits": compare_logits,
}
OUTPUTS = {
    "classes": SegmenterOutput("classes"),
    "classes/2": SegmenterOutput("classes", 2),
    "classes/1": SegmenterOutput("classes", 1),
    "logits": SegmenterOutput("logits"),
}


def semantic_fpn_graph_head(module: SemanticFPN, size: Size, form: str | None) -> GraphHead:
    """How the graph of a Semantic FPN ends.

    Args:
        module: the segmenter.
        size: input (height, width) in pixels.
        form: one of `OUTPUTS`: `classes`, which is the default, of every 4x4 pixels; `classes/2`
            and `classes/1` of smaller cells; `logits`.
    """
    chosen = OUTPUTS[form or "classes"]
    return GraphHead(
        head=MapHead(chosen.output, chosen.stride).to_dict(),
        outputs=(chosen.output,),
        attach=chosen.attach,
        compare=COMPARE[chosen.output],
        recorded=(chosen.output,),
    )


def _num_classes(weights: StateDict) -> int | None:
    weight = weights.get("decode_head.conv_seg.weight")
    return None if weight is None else weight.shape[0]


def _widths(weights: StateDict) -> dict[str, int]:
    """Channels of neck and head, as SemanticFPN's arguments; empty where weights lack them."""
    lateral = weights.get("neck.lateral_convs.0.conv.weight")
    last = weights.get("decode_head.conv_seg.weight")
    if lateral is None or last is None:
        return {}
    return {"channels": lateral.shape[0], "head_channels": last.shape[1]}


SEMANTIC_FPN = HeadExporter(
    _num_classes, _widths, semantic_fpn_graph_head, tuple(OUTPUTS), size_step=32
)
