"""What every deploy form is built from: folded normalizations and layers around given weights.

All folding happens in float64; the result differs from the module by rounding alone.
"""

from typing import Any

import torch
from torch import Tensor, nn


def fold_batchnorm_into_previous(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution equal to `norm(conv(x))` in eval mode."""
    scale, shift = scale_and_shift(norm)
    bias = shift if conv.bias is None else conv.bias.double() * scale + shift
    return conv_like(conv, conv.weight.double() * scale[:, None, None, None], bias)


def fold_batchnorm_into_next(norm: nn.BatchNorm2d, conv: nn.Conv2d) -> nn.Conv2d:
    """One 1x1 convolution equal to `conv(norm(x))` in eval mode.

    Wider kernels pad with zeros that `norm` would have shifted, so no convolution equals them.
    """
    assert conv.kernel_size == (1, 1)
    assert conv.groups == 1
    scale, shift = scale_and_shift(norm)
    weight = conv.weight.double()
    bias = weight[:, :, 0, 0] @ shift
    if conv.bias is not None:
        bias += conv.bias.double()
    return conv_like(conv, weight * scale[None, :, None, None], bias)


def fold_batchnorm_into_heads(norm: nn.BatchNorm2d, *heads: nn.Linear) -> nn.Linear:
    """One linear layer equal to the mean of `heads` on features that passed `norm`."""
    scale, shift = scale_and_shift(norm)
    weight = torch.stack([head.weight.double() for head in heads]).mean(dim=0)
    bias = torch.stack([head.bias.double() for head in heads]).mean(dim=0) + weight @ shift
    return linear_from(weight * scale, bias, heads[0].weight.dtype)


def fold_layernorm_into_next(norm: nn.LayerNorm, linear: nn.Linear) -> nn.Linear:
    """One linear layer equal to `linear(norm(x))` on what `norm` gives without scale and shift."""
    weight = linear.weight.double()
    bias = weight @ norm.bias.double()
    if linear.bias is not None:
        bias += linear.bias.double()
    return linear_from(weight * norm.weight.double(), bias, linear.weight.dtype)


def without_affine(norm: nn.LayerNorm) -> nn.LayerNorm:
    """The normalization without scale and shift."""
    return nn.LayerNorm(norm.normalized_shape, norm.eps, elementwise_affine=False)


def scale_outputs(linear: nn.Linear, count: int, scale: float) -> nn.Linear:
    """A linear layer whose first `count` outputs are multiplied by `scale`."""
    factors = linear.weight.new_ones(linear.out_features, dtype=torch.float64)
    factors[:count] = scale
    bias = None if linear.bias is None else linear.bias.double() * factors
    return linear_from(linear.weight.double() * factors[:, None], bias, linear.weight.dtype)


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What `norm` multiplies by and adds in eval mode: float64 (C,) both."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def conv_like(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """The convolution's stride, padding, groups and dtype around new weights."""
    geometry = {name: getattr(conv, name) for name in ("stride", "padding", "groups")}
    return conv_from(weight.to(conv.weight.dtype), bias, **geometry)


def conv_from(
    weight: Tensor, bias: Tensor | None, *, groups: int = 1, **geometry: Any
) -> nn.Conv2d:
    """A convolution around weights (out, in / groups, height, width).

    `geometry` is nn.Conv2d's: Any, because stride and padding are declared apart there.
    """
    out_dim, in_dim, height, width = weight.shape
    geometry |= {"groups": groups, "bias": False, "device": "meta"}  # which draws no random numbers
    conv = nn.Conv2d(in_dim * groups, out_dim, (height, width), **geometry)
    conv.weight = parameter_from(weight, weight.dtype)
    conv.bias = None if bias is None else parameter_from(bias, weight.dtype)
    return conv


def linear_from(weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> nn.Linear:
    """A linear layer of `dtype` around weights (out, in)."""
    out_dim, in_dim = weight.shape
    linear = nn.Linear(in_dim, out_dim, bias=False, device="meta")  # draws no random numbers
    linear.weight = parameter_from(weight, dtype)
    if bias is not None:
        linear.register_parameter("bias", parameter_from(bias, dtype))
    return linear


def pointwise_from(linear: nn.Linear) -> nn.Conv2d:
    """The linear layer as a 1x1 convolution of a map (B, C, H, W)."""
    return conv_from(linear.weight[:, :, None, None], linear.bias)


def parameter_from(values: Tensor, dtype: torch.dtype) -> nn.Parameter:
    """A parameter with a copy of `values`.

    A slice would keep, and a saved file would hold, the whole tensor that it comes from.
    """
    return nn.Parameter(values.detach().to(dtype).clone(memory_format=torch.contiguous_format))


def children(module: nn.Module) -> list[Any]:
    """The layers a module holds. Any, because PyTorch declares them as `Module` only."""
    return list(module.children())


def only_child(module: nn.Module) -> Any:
    """The one layer that a module holds."""
    (child,) = children(module)
    return child
