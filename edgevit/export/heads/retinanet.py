"""How a RetinaNet's graph ends: in the best candidates of each level.

A level has as many candidates as cells times anchors times classes, millions of them at the finest
one; what leaves the graph are the scores and deltas of the best `CANDIDATES`.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from edgevit.core.model.heads import AnchorHead, Coder, Selection
from edgevit.export.checkpoint.weights import StateDict
from edgevit.export.heads.base import Comparison, GraphHead, HeadExporter, Outputs, Size
from edgevit.models.boxes import by_anchor
from edgevit.models.retinanet import ANCHORS, RetinaNet

# Upstream's `test_cfg`: what a level keeps, and which of it become detections.
CANDIDATES = 1000
SELECTION = Selection(score_threshold=0.05, iou_threshold=0.5, max_detections=100)

Levels = Sequence[Tensor]


class BestCandidates(nn.Module):
    """A detector whose levels are cut to their best candidates.

    The best (anchor, class) pairs belong to the anchors whose best class is among the best, so the
    choice among millions of pairs is one among the anchors first.

    Args:
        detector: from images to class logits and box deltas of each level.
        num_classes: number of classes.
    """

    def __init__(self, detector: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.detector = detector
        self.num_classes = num_classes

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run it.

        Args:
            x: float (1, 3, H, W).

        Returns:
            Scores (1, K), indices int64 (1, K) and deltas (1, K, 4), as `edgevit.core.tasks.detect`
            reads them; each level's own are in descending order.
        """
        scores, indices, deltas = [], [], []
        finer = 0  # anchors of the levels before
        for level in zip(*self.detector(x), strict=True):
            anchors, classes, logits, moves = self.best(*level)
            scores.append(logits.sigmoid())
            indices.append((anchors + finer) * self.num_classes + classes)
            deltas.append(moves)
            finer += level[1].shape[1:].numel() // 4
        return torch.cat(scores)[None], torch.cat(indices)[None], torch.cat(deltas)[None]

    def best(self, logits: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Cut a level.

        Args:
            logits: (1, A*C, H, W).
            deltas: (1, A*4, H, W).

        Returns:
            Anchor, class, logit (k,) each and deltas (k, 4) of the level's best candidates.
        """
        pairs = by_anchor(logits, self.num_classes)[0]  # (H*W*A, C)
        count = min(CANDIDATES, pairs.shape[0])
        anchors = pairs.amax(dim=1).topk(count).indices
        chosen = pairs.index_select(0, anchors).flatten()
        values, places = chosen.topk(min(CANDIDATES, chosen.shape[0]))
        anchors = anchors.index_select(0, places // self.num_classes)
        return anchors, places % self.num_classes, values, by_anchor(deltas, 4)[0, anchors]


def retinanet_graph_head(module: RetinaNet, size: Size, form: str | None) -> GraphHead:
    """How the graph of a RetinaNet ends.

    Args:
        module: the detector.
        size: input (height, width) in pixels.
        form: there is one only.
    """
    num_classes = module.bbox_head.retina_cls.out_channels // module.anchors.per_cell
    head = AnchorHead(module.anchors, Coder(), CANDIDATES, SELECTION)

    def compare(answer: tuple[Levels, Levels], outputs: Outputs) -> Iterator[Comparison]:
        return _compare(*answer, num_classes, outputs)

    return GraphHead(
        head=head.to_dict(),
        outputs=("scores", "indices", "deltas"),
        attach=lambda deployed: BestCandidates(deployed, num_classes),
        compare=compare,
        recorded=("scores",),  # where two are alike, rounding decides which is the first
    )


def _compare(
    logits: Levels, deltas: Levels, num_classes: int, outputs: Outputs
) -> Iterator[Comparison]:
    """Every candidate has the module's numbers, and none is missing."""
    scores = [by_anchor(level, num_classes)[0].sigmoid().flatten() for level in logits]
    moves = torch.cat([by_anchor(level, 4)[0] for level in deltas]).numpy()
    found, indices = outputs["scores"][0], outputs["indices"][0]
    yield Comparison("a score", found, torch.cat(scores).numpy()[indices])
    yield Comparison("a delta", outputs["deltas"][0], moves[indices // num_classes])
    best = [level.topk(min(CANDIDATES, len(level))).values.numpy() for level in scores]
    limits = np.cumsum([0, *map(len, best)])
    for level, (start, end) in zip(best, pairwise(limits), strict=True):
        yield Comparison("a best score", np.sort(found[start:end])[::-1], level)


def _num_classes(weights: StateDict) -> int | None:
    weight = weights.get("bbox_head.retina_cls.weight")
    return None if weight is None else weight.shape[0] // ANCHORS.per_cell


def _widths(weights: StateDict) -> dict[str, int]:
    """Channels of the neck and number of stacked convolutions, as RetinaNet's arguments."""
    lateral = weights.get("neck.lateral_convs.0.conv.weight")
    stacked = sum(
        key.startswith("bbox_head.cls_convs.") and key.endswith(".weight") for key in weights
    )
    return {} if lateral is None else {"channels": lateral.shape[0], "stacked": stacked}


RETINANET = HeadExporter(
    _num_classes, _widths, retinanet_graph_head, size_step=32, has_score_threshold=True
)
