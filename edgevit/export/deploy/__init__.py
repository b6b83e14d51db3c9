"""Deploy form of the models: the same function in fewer operations, one file for each family."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from edgevit.export.deploy import cas_vit as deploy_cas_vit
from edgevit.export.deploy import lightvit as deploy_lightvit
from edgevit.export.deploy import litv2 as deploy_litv2
from edgevit.models import cas_vit, lightvit, litv2

# Builders take the module, which is theirs to use up, and the input size.
BUILDERS: dict[type[nn.Module], Callable[[Any, tuple[int, int]], nn.Module]] = {
    cas_vit.CASViT: deploy_cas_vit.DeployClassifier,
    cas_vit.CASViTPyramid: deploy_cas_vit.DeployPyramid,
    lightvit.LightViT: deploy_lightvit.DeployClassifier,
    lightvit.LightViTPyramid: deploy_lightvit.DeployPyramid,
    litv2.LITv2: deploy_litv2.DeployClassifier,
    litv2.LITv2Pyramid: deploy_litv2.DeployPyramid,
    litv2.HiLo: deploy_litv2.DeployLayer,
    litv2.DeformableTokenMerging: deploy_litv2.DeployLayer,
}


def deploy(model: nn.Module, input_size: tuple[int, int] = (224, 224)) -> nn.Module:
    """Build the deploy form of a module.

    Modules without a builder are copied, and their children looked at in turn.

    Args:
        model: any module; it stays as it is.
        input_size: (height, width) in pixels that the graph will mostly see. It decides between
            forms of equal numbers; the result takes every size that `model` takes.

    Returns:
        A new module in eval mode, whose parameters need no gradient.
    """
    with torch.no_grad():
        return _rebuilt(deepcopy(model), input_size).eval().requires_grad_(False)


def _rebuilt(module: nn.Module, input_size: tuple[int, int]) -> nn.Module:
    builder = BUILDERS.get(type(module))
    if builder is not None:
        return builder(module, input_size)
    for name, child in module.named_children():
        setattr(module, name, _rebuilt(child, input_size))
    return module
