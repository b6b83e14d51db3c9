import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevit.core.model.heads import AnchorGrid, Coder
from edgevit.core.tasks.boxes import (
    NMS_BLOCK,
    anchors_of,
    box_areas,
    box_iou,
    decode_deltas,
    level_sizes,
    nms,
)

GRID = AnchorGrid((8, 16), (0.5, 1.0, 2.0), (4.0, 8.0))


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("box", "area"),
    [([0, 0, 10, 20], 200), ([1, 1, 1, 9], 0), ([5, 5, 1, 1], 0)],
    ids=["one", "empty", "reversed"],
)
def test_areas(box, area):
    assert box_areas(boxes(box)).tolist() == [area]


@pytest.mark.parametrize(
    ("first", "second", "iou"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1),
        ([0, 0, 10, 10], [5, 0, 15, 10], 1 / 3),
        ([0, 0, 10, 10], [10, 0, 20, 10], 0),
        ([0, 0, 10, 10], [2, 2, 7, 6], 0.2),
        ([0, 0, 10, 10], [50, 50, 60, 60], 0),
        ([3, 3, 3, 3], [3, 3, 3, 3], 0),
    ],
    ids=["same", "half", "touching", "inside", "apart", "empty"],
)
def test_overlap(first, second, iou):
    assert box_iou(boxes(first), boxes(second)).tolist() == [[pytest.approx(iou)]]


def test_overlap_of_many_is_a_table():
    assert box_iou(boxes(), boxes([0, 0, 1, 1])).shape == (0, 1)
    assert box_iou(boxes([0, 0, 1, 1], [0, 0, 2, 1]), boxes([0, 0, 1, 1])).tolist() == [[1], [0.5]]


def test_anchors_are_centred_on_the_upper_left_of_their_cells():
    anchors = anchors_of(GRID, (20, 33))
    assert level_sizes(GRID, (20, 33)) == ((3, 5), (2, 3))
    assert anchors.shape == ((15 + 6) * 6, 4)
    assert anchors.dtype == np.float32
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert centres[:6].tolist() == [[0, 0]] * 6
    assert centres[6].tolist() == [8, 0]
    assert centres[5 * 6].tolist() == [0, 8]
    assert centres[-1].tolist() == [32, 16]


def test_anchors_of_a_cell_go_through_the_scales_of_each_ratio():
    anchors = anchors_of(GRID, (8, 8))[:6]
    sizes = anchors[:, 2:] - anchors[:, :2]
    ratios = (sizes[:, 1] / sizes[:, 0]).tolist()
    assert ratios == pytest.approx([0.5, 0.5, 1, 1, 2, 2])
    assert np.sqrt(sizes.prod(axis=1)).tolist() == pytest.approx([32, 64] * 3)


def test_retinanets_first_anchor_is_mmdets():
    grid = AnchorGrid((8,), (0.5, 1.0, 2.0), tuple(4 * 2 ** (i / 3) for i in range(3)))
    expected = [-22.627417, -11.313708, 22.627417, 11.313708]
    assert anchors_of(grid, (8, 8))[0].tolist() == pytest.approx(expected)


ANCHOR = boxes([10, 20, 30, 60])


@pytest.mark.parametrize(
    ("deltas", "coder", "expected"),
    [
        ([0, 0, 0, 0], Coder(), [10, 20, 30, 60]),
        ([0.5, -0.25, 0, 0], Coder(), [20, 10, 40, 50]),
        ([0, 0, np.log(2), np.log(0.5)], Coder(), [0, 30, 40, 50]),
        ([5, -2.5, 0, 0], Coder(stds=(0.1, 0.1, 0.2, 0.2)), [20, 10, 40, 50]),
        ([0, 0, 0, 0], Coder(means=(0.5, -0.25, 0, 0)), [20, 10, 40, 50]),
        ([0, 0, 99, -99], Coder(max_log_ratio=np.log(2)), [0, 30, 40, 50]),
    ],
    ids=["nothing", "moved", "scaled", "stds", "means", "clipped"],
)
def test_deltas_move_and_scale_anchors(deltas, coder, expected):
    decoded = decode_deltas(np.array([deltas], np.float32), ANCHOR, coder)
    assert decoded.tolist() == [pytest.approx(expected, abs=1e-4)]
    assert decoded.dtype == np.float32


def test_no_deltas_are_no_boxes():
    assert decode_deltas(np.empty((0, 4), np.float32), boxes(), Coder()).shape == (0, 4)


PAIR = boxes([0, 0, 10, 10], [0, 0, 10, 6])  # IoU 0.6


@pytest.mark.parametrize(
    ("candidates", "scores", "class_ids", "iou_threshold", "kept"),
    [
        (boxes(), [], None, 0.5, []),
        (boxes([0, 0, 1, 1]), [0.3], None, 0.5, [0]),
        (PAIR, [0.3, 0.9], None, 0.5, [1]),
        (PAIR, [0.5, 0.5], None, 0.5, [0]),
        (PAIR, [0.3, 0.9], [4, 4], 0.5, [1]),
        (PAIR, [0.3, 0.9], [4, 5], 0.5, [1, 0]),
        (PAIR, [0.9, 0.3], None, 0.7, [0, 1]),
        (boxes([0, 0, 2, 2], [0, 0, 2, 4]), [0.9, 0.3], None, 0.5, [0, 1]),
        (boxes([5, 5, 5, 5], [5, 5, 5, 5]), [0.9, 0.3], None, 0.5, [0, 1]),
        (boxes([0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]), [3, 2, 1], None, 0.4, [0, 2]),
    ],
    ids=[
        "none",
        "one",
        "better",
        "tie",
        "same class",
        "other class",
        "little overlap",
        "exactly the threshold",
        "empty boxes",
        "the suppressed suppress nobody",
    ],
)
def test_the_best_of_overlapping_boxes_stays(candidates, scores, class_ids, iou_threshold, kept):
    scores = np.array(scores, np.float32)
    class_ids = None if class_ids is None else np.array(class_ids)
    found = nms(candidates, scores, class_ids, iou_threshold=iou_threshold, max_detections=10)
    assert found.tolist() == kept


def nms_one_by_one(candidates, scores, class_ids, iou_threshold, max_detections):
    overlap = box_iou(candidates, candidates)
    if class_ids is not None:
        overlap = overlap * (class_ids[:, None] == class_ids)
    kept = []
    for index in np.argsort(-scores, kind="stable"):
        if all(overlap[index, better] <= iou_threshold for better in kept):
            kept.append(int(index))
    return kept[:max_detections]


@given(
    count=st.sampled_from([2, 30, NMS_BLOCK + 1, 3 * NMS_BLOCK]),
    seed=st.integers(0, 2**32 - 1),
    classes=st.sampled_from([None, 1, 3]),
    max_detections=st.sampled_from([1, 20, 1000]),
    iou_threshold=st.sampled_from([0.3, 0.7]),
)
def test_blocks_keep_what_going_one_by_one_keeps(
    count, seed, classes, max_detections, iou_threshold
):
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 100, (count, 2))
    candidates = np.concatenate([corners, corners + random.uniform(0, 60, (count, 2))], axis=1)
    candidates = candidates.astype(np.float32)
    scores = random.random(count).astype(np.float32).round(2)
    class_ids = None if classes is None else random.integers(0, classes, count)
    found = nms(
        candidates,
        scores,
        class_ids,
        iou_threshold=iou_threshold,
        max_detections=max_detections,
    )
    expected = nms_one_by_one(candidates, scores, class_ids, iou_threshold, max_detections)
    assert found.tolist() == expected
