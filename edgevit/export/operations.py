"""Count the arithmetic of a module."""

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode


def multiply_adds(module: nn.Module, *inputs: object) -> int:
    """Count the multiply-adds of a module's convolutions, linear layers and matrix products.

    Papers call one multiply-add a FLOP; hardware rates count two operations for it. Everything
    else (normalization, activation, softmax, pooling, bias) is left out: it is bound by memory.

    Nothing is computed: the module runs on tensors without data.

    Args:
        module: what to count; it stays as it is.
        inputs: what its `forward` takes; of tensors only shape and dtype matter.

    Returns:
        The number of multiply-adds of one call.
    """
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    hollow = {name: tensor.to("meta") for name, tensor in tensors.items()}
    arguments = tuple(x.to("meta") if isinstance(x, Tensor) else x for x in inputs)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        functional_call(module, hollow, arguments)
    return counter.get_total_flops() // 2
