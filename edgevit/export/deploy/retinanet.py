"""RetinaNet for inference.

Nearly all of its arithmetic is wide 3x3 convolutions at the finer levels: these are products of
matrices here, from the neck's smoothing to the head's last convolutions, on channels-last maps.
"""

from typing import Any

from torch import Tensor, nn

from edgevit.export.deploy.fold import children
from edgevit.export.deploy.winograd import WinogradConv, is_worth_transforming
from edgevit.models.retinanet import RetinaNet


def transformed(layers: nn.Module) -> nn.Sequential:
    """3x3 convolutions, and what stands between them, for channels-last maps."""
    return nn.Sequential(
        *(
            WinogradConv(layer) if isinstance(layer, nn.Conv2d) else layer
            for layer in layers.modules()
            if not children(layer)
        )
    )


class DeployRetinaNet(nn.Module):
    """`RetinaNet` for inference; its backbone is in deploy form already."""

    def __init__(self, model: RetinaNet, input_size: tuple[int, int]) -> None:
        super().__init__()
        self.backbone, self.neck, self.head = model.backbone, model.neck, model.bbox_head
        head = self.head
        self.smooth = nn.ModuleList(map(transformed, children(self.neck.fpn_convs)[:3]))
        self.classes = transformed(nn.Sequential(head.cls_convs, head.retina_cls))
        self.boxes = transformed(nn.Sequential(head.reg_convs, head.retina_reg))

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Map images (B, 3, H, W) to class logits and box deltas of each level."""
        maps = self.backbone(x)[-3:]
        merged = self.neck.merge(maps)
        levels = self.neck.levels(merged, maps[-1])
        outputs: list[Any] = [self.head(level) for level in levels]
        for place, (level, smooth) in enumerate(zip(merged, self.smooth, strict=True)):
            if is_worth_transforming(self.head.retina_cls, level.shape[2] * level.shape[3]):
                smoothed = smooth(level.permute(0, 2, 3, 1))
                towers = (self.classes, self.boxes)
                outputs[place] = [tower(smoothed).permute(0, 3, 1, 2) for tower in towers]
        logits, deltas = zip(*outputs, strict=True)
        return list(logits), list(deltas)
