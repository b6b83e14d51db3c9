import numpy as np
import pytest
from paths import DATA

from edgevit.core.tasks.masks import masks_as_bool, masks_as_rle
from edgevit.core.tasks.rle import RLE

FULL = np.ones((1, 28, 28), np.float32)


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


def interpolated(mask, box, size, threshold):
    """One pixel after the other: between the centers of four cells, 0 beyond them."""
    padded = np.pad(mask.astype(np.float64), 2)
    pasted = np.zeros(size, bool)
    x0, y0, x1, y1 = box.astype(np.float64)
    for row, column in np.ndindex(size):
        y, x = row + 0.5, column + 0.5
        if not (x0 <= x <= x1 and y0 <= y <= y1):
            continue
        v = (y - y0) / (y1 - y0) * mask.shape[0] + 1.5
        u = (x - x0) / (x1 - x0) * mask.shape[1] + 1.5
        i, j, p, q = int(v), int(u), v % 1, u % 1
        upper = padded[i, j] * (1 - q) + padded[i, j + 1] * q
        lower = padded[i + 1, j] * (1 - q) + padded[i + 1, j + 1] * q
        pasted[row, column] = upper * (1 - p) + lower * p >= threshold
    return pasted


@pytest.mark.parametrize(
    "box",
    [
        [3, 4, 20, 17],
        [2.3, 1.7, 9.9, 28.2],
        [-5.5, -3.2, 12.5, 11.1],
        [10, 8, 40.7, 37.3],
        [-9, -9, 50, 60],
        [4.2, 5.1, 5.9, 6.4],
        [60, 60, 90, 90],
    ],
    ids=["whole", "fractional", "upper left", "lower right", "beyond all", "tiny", "outside"],
)
def test_a_mask_is_interpolated_over_its_box(box):
    mask = np.random.default_rng(5).random((1, 7, 9)).astype(np.float32)
    pasted = masks_as_bool(mask, boxes(box), (24, 30), 0.45)
    assert np.array_equal(pasted[0], interpolated(mask[0], boxes(box)[0], (24, 30), 0.45))


@pytest.mark.parametrize(
    "box",
    [[3, 4, 20, 17], [0, 0, 30, 24], [5, -2, 25, 30], [60, 60, 90, 90], [5, 5, 5, 5]],
    ids=["inside", "all", "whole columns", "outside", "empty"],
)
@pytest.mark.parametrize("kind", ["full", "noise", "nothing"])
def test_run_lengths_are_those_of_the_pasted_mask(box, kind):
    noise = np.random.default_rng(6).random((1, 28, 28)).astype(np.float32)
    masks = {"full": FULL, "noise": noise, "nothing": 0 * FULL}[kind]
    (rle,) = masks_as_rle(masks, boxes(box), (24, 30), 0.5)
    assert rle == RLE.from_mask(masks_as_bool(masks, boxes(box), (24, 30), 0.5)[0])


def test_masks_are_pasted_as_mmdet_pastes_them():
    golden = np.load(DATA / "paste_golden.npz")  # three masks of an official CAS-ViT Mask R-CNN
    pasted = np.unpackbits(golden["pasted"], axis=1, count=250 * 310).reshape(3, 250, 310)
    masks = masks_as_bool(golden["masks"], golden["boxes"], (250, 310), 0.5)
    assert np.array_equal(masks, pasted.astype(bool))


def test_a_full_mask_fills_its_box():
    assert masks_as_bool(FULL, boxes([2, 3, 7, 9]), (12, 12), 0.4)[0].sum() == 5 * 6


def test_no_masks_are_none():
    nothing = np.empty((0, 28, 28), np.float32)
    assert masks_as_bool(nothing, boxes(), (4, 6), 0.5).shape == (0, 4, 6)
    assert masks_as_rle(nothing, boxes(), (4, 6), 0.5) == ()
