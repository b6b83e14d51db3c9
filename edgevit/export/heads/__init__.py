"""The kinds of models that the exporter knows: a table with a row for each kind of head."""

from torch import Tensor, nn

from edgevit.export.checkpoint.weights import num_classes_in
from edgevit.export.heads.base import Comparison, GraphHead, HeadExporter, Outputs, Size
from edgevit.export.heads.mask_rcnn import MASK_RCNN
from edgevit.export.heads.retinanet import RETINANET
from edgevit.export.heads.semantic_fpn import SEMANTIC_FPN


def _classifier_graph_head(module: nn.Module, size: Size, form: str | None) -> GraphHead:
    def compare(answer: Tensor, outputs: Outputs) -> list[Comparison]:
        return [Comparison("a logit", outputs["logits"], answer.numpy())]

    return GraphHead({}, ("logits",), lambda deployed: deployed, compare, ("logits",))


CLASSIFIER = HeadExporter(num_classes_in, lambda weights: {}, _classifier_graph_head)

# By the name of the head, as in the definition of a variant.
HEADS: dict[str, HeadExporter] = {
    "classifier": CLASSIFIER,
    "retinanet": RETINANET,
    "mask_rcnn": MASK_RCNN,
    "semantic_fpn": SEMANTIC_FPN,
}
