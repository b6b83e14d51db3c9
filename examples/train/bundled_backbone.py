"""The backbone of the bundled classifier as a module that trains on.

The bundled file holds the deploy form: normalizations folded away, query and key side by side, no
optimizer. Its weights go back into the plain module, whose normalizations then get the statistics
of given pictures and the scale and shift that undo them. In eval mode the module computes what the
file does; in training mode nearly so, from the first step on.
"""

from __future__ import annotations

from importlib.resources import files

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from edgevit.models.cas_vit import CONFIGS, AdditiveBlock, CASViTPyramid, Embedding

BUNDLED = "cas_vit_xs_cifar10.onnx"
NAMES = ("norm0", "norm2", "norm4", "norm6")  # of the dense outputs, which no classifier has

Weights = dict[str, Tensor]


def bundled_backbone(pictures: Tensor) -> CASViTPyramid:
    """CAS-ViT-XS as a dense backbone with the weights of the bundled classifier.

    Args:
        pictures: float32 (B, 3, H, W), normalized RGB, as training will see them.

    Returns:
        The backbone, in training mode.
    """
    model = CASViTPyramid(CONFIGS["cas_vit_xs"])
    weights = bundled_weights()
    take_conv(model.patch_embed[0], weights, "backbone.stem.0")
    take_conv(model.patch_embed[3], weights, "backbone.stem.2")
    for index, module in enumerate(model.network):
        name = f"backbone.network.{index}"
        if isinstance(module, Embedding):
            take_conv(module.proj, weights, name)
            continue
        for place, block in enumerate(module.children()):
            take_block(block, weights, f"{name}.{place}")
    set_statistics(model, pictures)
    return model.train()


def bundled_weights() -> Weights:
    """Every weight of the bundled file, float32, by its name in the deploy form."""
    model = onnx.load_model_from_string((files("edgevit") / "assets" / BUNDLED).read_bytes())
    return {
        tensor.name.removesuffix(".float16"): torch.tensor(numpy_helper.to_array(tensor)).float()
        for tensor in model.graph.initializer
        if tensor.name.startswith("backbone.")
    }


@torch.no_grad()
def take_conv(conv: nn.Conv2d, weights: Weights, name: str, part: slice = slice(None)) -> None:
    """Copy weights and bias into a convolution: those of the outputs in `part`."""
    conv.weight.copy_(weights[f"{name}.weight"][part])
    if conv.bias is not None:
        conv.bias.copy_(weights[f"{name}.bias"][part])


@torch.no_grad()
def take_block(block: AdditiveBlock, weights: Weights, name: str) -> None:
    """Undo the deploy form of one block, whose query and key lie side by side."""
    first, _, depthwise, _, last = block.local_perception.network
    for place, conv in ((0, first), (1, depthwise), (3, last)):
        take_conv(conv, weights, f"{name}.local_perception.{place}")
    for layer in ("fc1", "fc2"):
        take_conv(getattr(block.mlp, layer), weights, f"{name}.mlp.{layer}")
    mixer, dim = block.attn, block.norm1.num_features
    parts = [f"{name}.attn.{part}" for part in ("query_key", "value")]
    mixer.qkv.weight.copy_(torch.cat([weights[f"{part}.weight"] for part in parts]))
    # The convolution has no bias of its own: it came through the normalization before it.
    bias = torch.cat([weights[f"{part}.bias"] for part in parts])
    matrix = mixer.qkv.weight[:, :, 0, 0].double()
    block.norm1.bias.copy_(torch.linalg.lstsq(matrix, bias.double()[:, None]).solution[:, 0])
    for place, (spatial, channel) in enumerate((mixer.oper_q, mixer.oper_k)):
        own = slice(place * dim, (place + 1) * dim)
        take_conv(spatial.block[0], weights, f"{name}.attn.spatial.depthwise", own)
        spatial.block[3].weight.copy_(
            weights[f"{name}.attn.spatial.reduce.weight"][place : place + 1, own]
        )
        take_conv(channel.block[1], weights, f"{name}.attn.channel", own)
    mixer.dwc.weight.copy_(weights[f"{name}.attn.dwc.weight"][..., ::2])  # columns stand twice
    mixer.dwc.bias.copy_(weights[f"{name}.attn.dwc.bias"])
    take_conv(mixer.proj, weights, f"{name}.attn.proj")


@torch.no_grad()
def set_statistics(model: CASViTPyramid, pictures: Tensor) -> None:
    """Give every normalization the statistics of `pictures`, and what leaves the maps as they are.

    Those of the dense outputs stay normalizations.
    """
    outputs = {getattr(model, name) for name in NAMES}

    def set_one(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        if norm not in outputs:
            norm.weight.copy_((variance + norm.eps).sqrt())
            norm.bias.add_(mean)

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        # Untouched, it multiplies by 1 / sqrt(1 + eps); folding left nothing of that.
        norm.running_var.fill_(1 - norm.eps)
    hooks = [norm.register_forward_pre_hook(set_one) for norm in norms]
    model.eval()(pictures)
    for hook in hooks:
        hook.remove()
