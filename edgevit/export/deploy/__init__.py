"""Deploy form of the models: the same function in fewer operations, one file for each family."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from edgevit.export.deploy import cas_vit, lightvit, litv2, retinanet, semantic_fpn
from edgevit.models.cas_vit import CASViT, CASViTPyramid
from edgevit.models.lightvit import LightViT, LightViTPyramid
from edgevit.models.litv2 import DeformableTokenMerging, HiLo, LITv2, LITv2Pyramid
from edgevit.models.retinanet import RetinaNet
from edgevit.models.semantic_fpn import SemanticFPN

# Builders take the module, which is theirs to use up, and the input size.
BUILDERS: dict[type[nn.Module], Callable[[Any, tuple[int, int]], nn.Module]] = {
    CASViT: cas_vit.DeployClassifier,
    CASViTPyramid: cas_vit.DeployPyramid,
    LightViT: lightvit.DeployClassifier,
    LightViTPyramid: lightvit.DeployPyramid,
    LITv2: litv2.DeployClassifier,
    LITv2Pyramid: litv2.DeployPyramid,
    HiLo: litv2.DeployLayer,
    DeformableTokenMerging: litv2.DeployLayer,
}

# Builders for wholes of backbone, neck and head; they find the backbone in deploy form.
COMPOSITES: dict[type[nn.Module], Callable[[Any, tuple[int, int]], nn.Module]] = {
    RetinaNet: retinanet.DeployRetinaNet,
    SemanticFPN: semantic_fpn.DeploySemanticFPN,
}

# Wholes that gain on processors alone, by sums of large numbers that half precision rounds.
CPU_ONLY_COMPOSITES = {RetinaNet}


def deploy(
    model: nn.Module, input_size: tuple[int, int] = (224, 224), *, half: bool = False
) -> nn.Module:
    """Build the deploy form of a module.

    Modules without a builder are copied, and their children looked at in turn.

    Args:
        model: any module; it stays as it is.
        input_size: (height, width) in pixels that the graph will mostly see. It decides between
            forms of equal numbers; the result takes every size that `model` takes.
        half: whether it shall compute in half precision, on a GPU.

    Returns:
        A new module in eval mode, whose parameters need no gradient.
    """
    with torch.no_grad():
        return _rebuilt(deepcopy(model), input_size, half).eval().requires_grad_(False)


def _rebuilt(module: nn.Module, input_size: tuple[int, int], half: bool) -> nn.Module:
    builder = BUILDERS.get(type(module))
    if builder is not None:
        return builder(module, input_size)
    for name, child in module.named_children():
        setattr(module, name, _rebuilt(child, input_size, half))
    whole = COMPOSITES.get(type(module))
    if whole is None or (half and type(module) in CPU_ONLY_COMPOSITES):
        return module
    return whole(module, input_size)
