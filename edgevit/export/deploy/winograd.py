"""3x3 convolutions as products of matrices, with a fourth of the multiplications.

Paper: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv:1509.09308,
F(4x4, 3x3). Runtimes for processors without AVX-512 convolve directly; of wide layers on large maps
the products, with what it costs to get there and back, take two thirds of the time.

Maps are channels last here, which makes every tile's values of a channel a row.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

# From a 6x6 tile to the products' factors, from a kernel to theirs, and from the products to the
# 4x4 outputs: each along one axis.
TILE = torch.tensor(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=torch.float64,
)
KERNEL = torch.tensor(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], dtype=torch.float64
)
KERNEL /= 24
OUTPUT = torch.tensor(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    dtype=torch.float64,
)

# Fewer channels make the transformations, fewer cells the larger weights, cost more than they save.
LEAST_CHANNELS = 192
LEAST_CELLS = 1024


def is_worth_transforming(conv: nn.Conv2d, cells: int) -> bool:
    """Whether a convolution of a map of so many cells was faster in this form."""
    return conv.in_channels >= LEAST_CHANNELS and cells >= LEAST_CELLS


class WinogradConv(nn.Module):
    """A 3x3 convolution of stride 1 that keeps the size, on channels-last maps.

    The weights stay as they are, a fourth of what the products take: runtimes transform them when
    they load the file.

    Args:
        conv: the convolution; its parameters are shared.
    """

    tile: Tensor
    kernel: Tensor
    output: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        assert conv.kernel_size == (3, 3)
        assert conv.padding == (1, 1)
        self.conv = conv
        for name, matrix in (("tile", TILE), ("kernel", KERNEL), ("output", OUTPUT)):
            both = torch.kron(matrix, matrix).to(conv.weight.dtype)
            self.register_buffer(name, both.to(conv.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, in) to (B, H, W, out)."""
        batch, height, width, channels = x.shape
        rows, columns = -(-height // 4), -(-width // 4)
        factors = self.tile @ self._tiles(x, rows, columns).reshape(36, -1)
        products = factors.reshape(36, -1, channels) @ self._weights()  # (36, B*rows*columns, out)
        y = (self.output @ products.reshape(36, -1)).reshape(4, 4, batch, rows, columns, -1)
        y = y.permute(2, 3, 0, 4, 1, 5).reshape(batch, 4 * rows, 4 * columns, -1)
        if (height, width) != (4 * rows, 4 * columns):
            y = y[:, :height, :width]
        return y if self.conv.bias is None else y + self.conv.bias

    def _tiles(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Cut overlapping tiles of 6x6 cells: (6, 6, B, rows, columns, C)."""
        batch, height, width, channels = x.shape
        below, right = (4 * (n + 1) - side - 1 for n, side in ((rows, height), (columns, width)))
        x = F.pad(x, (0, 0, 1, right, 1, below))
        x = x.reshape(batch, rows + 1, 4, columns + 1, 4, channels).permute(2, 4, 0, 1, 3, 5)
        # A tile's last two rows (and columns) are the first two of the next one.
        x = torch.cat((x[:, :, :, :-1], x[:2, :, :, 1:]), dim=0)
        return torch.cat((x[:, :, :, :, :-1], x[:, :2, :, :, 1:]), dim=1)

    def _weights(self) -> Tensor:
        """The transformed weights (36, in, out)."""
        weight = self.conv.weight
        flat = weight.permute(2, 3, 1, 0).reshape(9, -1)
        return (self.kernel @ flat).reshape(36, weight.shape[1], weight.shape[0])
