"""1x1 convolutions as matrix products, which one CPU thread computes faster."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class PointwiseConv2d(nn.Conv2d):
    """A dense 1x1 convolution, stride 1, with the parameters of another; no copy of its input.

    Args:
        convolution: the one to replace.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        sizes = convolution.in_channels, convolution.out_channels
        super().__init__(*sizes, kernel_size=1, bias=convolution.bias is not None, device="meta")
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map float (B, C, H, W), channels last in memory, to (B, D, H, W)."""
        rows = x.permute(0, 2, 3, 1)  # (B, C, H, W) -> (B, H, W, C)
        return functional.linear(rows, self.weight[:, :, 0, 0], self.bias).permute(0, 3, 1, 2)


def replace_pointwise(module: nn.Module) -> None:
    """Replace the 1x1 convolutions inside `module`; its state dict stays what it was."""
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d) and child.kernel_size == (1, 1):
            setattr(module, name, PointwiseConv2d(child))
        else:
            replace_pointwise(child)
