import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn  # noqa: E402

from edgevit.export.operations import multiply_adds  # noqa: E402
from edgevit.models.litv2 import HiLo  # noqa: E402


class Products(nn.Module):
    def forward(self, a, b):
        return (a @ b).softmax(-1) + 1


@pytest.mark.parametrize(
    ("module", "shapes", "count"),
    [
        (nn.Identity(), [(1, 3)], 0),
        (nn.Sequential(nn.LayerNorm(6), nn.GELU()), [(2, 6)], 0),
        (nn.Linear(6, 5), [(2, 7, 6)], 2 * 7 * 6 * 5),
        (nn.Conv2d(6, 4, 3, padding=1, bias=False), [(1, 6, 5, 8)], 5 * 8 * 4 * 6 * 9),
        (nn.Conv2d(6, 6, 3, stride=2, groups=6), [(1, 6, 5, 9)], 2 * 4 * 6 * 9),
        (Products(), [(2, 3, 4, 5), (2, 3, 5, 7)], 2 * 3 * 4 * 5 * 7),
    ],
    ids=["identity", "no product", "linear", "convolution", "depthwise, strided", "matmul"],
)
def test_multiply_adds_are_counted(module, shapes, count):
    assert multiply_adds(module, *(torch.zeros(shape) for shape in shapes)) == count


def test_hilo_counts_what_its_authors_count():
    """`model.flops(14, 14)` in the README of github.com/ziplab/LITv2."""
    attention = HiLo(384, num_heads=12, window=2, alpha=0.5)
    assert multiply_adds(attention, torch.empty(1, 14, 14, 384)) == 83_467_776


def test_counting_leaves_the_module_as_it_is():
    norm = nn.BatchNorm2d(3).train()
    multiply_adds(norm, torch.ones(1, 3, 2, 2))
    assert norm.weight.device.type == "cpu"
    assert norm.num_batches_tracked == 0
