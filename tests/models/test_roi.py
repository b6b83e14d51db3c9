import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from detections import suppress  # noqa: E402

from edgevit.core.model.heads import AnchorGrid  # noqa: E402
from edgevit.models.boxes import (  # noqa: E402
    by_anchor,
    clip_boxes,
    decode_deltas,
    level_anchors,
)
from edgevit.models.roi import NMS, RoIAlign  # noqa: E402


def random_boxes(count, size=100.0):
    generator = torch.Generator().manual_seed(count)
    corners = torch.rand(count, 2, generator=generator, dtype=torch.float64) * size
    sides = torch.rand(count, 2, generator=generator, dtype=torch.float64) * size / 2
    return torch.cat((corners, corners + sides), dim=1)


def sampled(level, row, column):
    """One bilinear sample, as RoIAlign defines it."""
    height, width = level.shape
    if not (-1 <= row <= height and -1 <= column <= width):
        return 0.0
    row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
    top, left = int(row), int(column)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = level[top, left] * (left + 1 - column) + level[top, right] * (column - left)
    lower = level[bottom, left] * (left + 1 - column) + level[bottom, right] * (column - left)
    return upper * (top + 1 - row) + lower * (row - top)


def cut_by_loops(level, box, cells, stride):
    """The mean of the samples in every cell, written out."""
    left, top, right, bottom = (side / stride - 0.5 for side in box)
    high, wide = (bottom - top) / cells, (right - left) / cells
    rows, columns = int(np.ceil(high)), int(np.ceil(wide))
    cut = np.zeros((cells, cells))
    for i, j in np.ndindex(cells, cells):
        samples = [
            sampled(
                level, top + (i + (y + 0.5) / rows) * high, left + (j + (x + 0.5) / columns) * wide
            )
            for y, x in np.ndindex(rows, columns)
        ]
        cut[i, j] = np.mean(samples)
    return cut


@pytest.mark.parametrize(
    "box",
    [
        (10.0, 12.0, 50.0, 70.0),
        (0.0, 0.0, 80.0, 64.0),
        (79.5, 63.5, 80.0, 64.0),
        (3.0, 20.0, 79.0, 20.5),
        (5.0, 5.0, 82.0, 66.0),
    ],
    ids=["inside", "all", "last pixel", "flat", "beyond"],
)
def test_a_cut_is_the_mean_of_its_samples(box):
    level = torch.randn(2, 16, 20, generator=torch.Generator().manual_seed(1)).double()
    cut = RoIAlign(3, (4,))([level], torch.tensor([box], dtype=torch.float64))[0]
    for channel in range(2):
        expected = cut_by_loops(level[channel].numpy(), box, 3, 4)
        assert np.abs(cut[channel].numpy() - expected).max() < 1e-12


def test_an_empty_box_cuts_zeros_and_no_box_nothing():
    cut = RoIAlign(3, (4, 8))
    levels = [torch.ones(2, 8, 8), torch.ones(2, 4, 4)]
    assert not cut(levels, torch.zeros(1, 4)).any()
    assert cut(levels, torch.zeros(0, 4)).shape == (0, 2, 3, 3)


def test_boxes_are_cut_out_of_the_level_that_fits_their_size():
    sides = torch.tensor([1.0, 111.9, 112.0, 223.9, 224.0, 447.9, 448.0, 5000.0])
    boxes = torch.stack((0 * sides, 0 * sides, sides, sides), dim=1)
    assert RoIAlign(7, (4, 8, 16, 32)).level_of(boxes).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_boxes_of_several_levels_and_chunks_keep_their_order():
    levels = [torch.full((1, 64 >> index, 64 >> index), float(index)) for index in range(4)]
    sides = torch.tensor([20.0, 120.0, 230.0, 255.0]).repeat(20)
    boxes = torch.stack((0 * sides, 0 * sides, sides, sides), dim=1)
    cut = RoIAlign(2, (4, 8, 16, 32))(levels, boxes)
    assert torch.allclose(cut[:, 0, 0, 0], torch.tensor([0.0, 1.0, 2.0, 2.0]).repeat(20))


def test_suppression_takes_what_a_loop_takes():
    boxes = random_boxes(120)
    scores = torch.rand(120, generator=torch.Generator().manual_seed(2)).double()
    places, kept = NMS(0.3, 100)(boxes.reshape(3, 40, 4), scores.reshape(3, 40))
    groups = np.repeat(np.arange(3), 40)
    expected = suppress(boxes.numpy(), scores.numpy(), groups, 0.3)
    count = len(expected)
    assert 3 < count < 100
    assert places[:count].tolist() == expected
    assert torch.equal(kept[:count], scores[expected])
    assert not kept[count:].any()


def test_suppression_stops_at_its_limit():
    boxes = torch.tensor([[[0.0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]]])
    places, kept = NMS(0.5, 2)(boxes, torch.tensor([[0.1, 0.3, 0.2]]))
    assert places.tolist() == [1, 2]
    assert kept.tolist() == pytest.approx([0.3, 0.2])


def test_equal_boxes_of_two_groups_both_stay_and_empty_ones_suppress_nothing():
    box = [0.0, 0.0, 4.0, 4.0]
    boxes = torch.tensor([[box, [2.0, 2, 2, 2]], [box, [2.0, 2, 2, 2]]])
    places, kept = NMS(0.5, 5)(boxes, torch.tensor([[0.5, 0.9], [0.6, 0.0]]))
    assert places[:3].tolist() == [1, 2, 0]
    assert kept.tolist() == pytest.approx([0.9, 0.6, 0.5, 0.0, 0.0])


def test_a_box_without_a_score_is_never_taken():
    _, kept = NMS(0.5, 2)(random_boxes(4).reshape(1, 4, 4), torch.tensor([[0.0, -1.0, 0.0, 0.0]]))
    assert not kept.any()


def test_anchors_go_row_by_row_then_by_ratio_then_by_scale():
    grid = AnchorGrid(strides=(8,), scales=(1.0, 2.0), ratios=(1.0, 4.0))
    anchors = level_anchors(grid, 8, torch.zeros(1, 1, 2, 3))
    assert grid.per_cell == 4
    assert anchors.shape == (2 * 3 * 4, 4)
    assert anchors[:4].tolist() == [
        [-4, -4, 4, 4],
        [-8, -8, 8, 8],
        [-2, -8, 2, 8],
        [-4, -16, 4, 16],
    ]
    assert anchors[4].tolist() == [4, -4, 12, 4]  # a column later
    assert anchors[12].tolist() == [-4, 4, 4, 12]  # a row later


def test_outputs_come_in_the_order_of_the_anchors():
    head = torch.arange(2 * 3 * 2 * 2).reshape(1, 6, 2, 2)  # two anchors, three numbers each
    assert by_anchor(head, 3)[0, :3].tolist() == [[0, 4, 8], [12, 16, 20], [1, 5, 9]]


def test_deltas_move_and_stretch():
    box = torch.tensor([10.0, 20.0, 20.0, 60.0])
    deltas = torch.tensor([1.0, -1.0, 2.0, 0.0])
    moved = decode_deltas(box, deltas, (0.1, 0.1, 0.5, 0.5))
    width = 10 * np.e
    assert moved.tolist() == pytest.approx([16 - width / 2, 16, 16 + width / 2, 56], rel=1e-6)


def test_a_side_grows_62_5_times_at_most():
    moved = decode_deltas(torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([0.0, 0.0, 50.0, -50.0]))
    assert (moved[2] - moved[0]).item() == pytest.approx(2 * 62.5, rel=1e-5)
    assert (moved[3] - moved[1]).item() == pytest.approx(2 / 62.5, rel=1e-5)


def test_boxes_are_cut_at_the_borders():
    boxes = torch.tensor([[-5.0, -5.0, 500.0, 500.0], [10.0, 20.0, 30.0, 40.0]])
    assert clip_boxes(boxes, torch.tensor([50, 60])).tolist() == [
        [0, 0, 60, 50],
        [10, 20, 30, 40],
    ]
