import numpy as np
import pytest

from edgevit.core.tasks.results import Classification, Detections, Segmentation
from edgevit.errors import InputError
from edgevit.parity import Limits
from edgevit.parity.decisions import DECISIONS

NAMES = ("red", "green", "blue")
LIMITS = Limits(tolerance=0, min_agreement=1, min_iou=0.9)
BOX = (0, 0, 10, 10)


def compared(task, *pairs):
    decisions = DECISIONS[task](NAMES, LIMITS)
    verdicts = [decisions.add(*pair) for pair in pairs]
    return decisions, verdicts


def classes(*ids):
    return Classification(np.array(ids), tuple(NAMES[i] for i in ids), np.zeros(len(ids)), {})


def detections(*found, masks=None):
    """Each is (x of a box of 10 by 10 pixels, score, class id)."""
    boxes = np.array([(x, 0, x + 10, 10) for x, _, _ in found], np.float32).reshape(-1, 4)
    ids = np.array([index for _, _, index in found], np.int64)
    scores = np.array([score for _, score, _ in found], np.float32)
    return Detections(boxes, scores, ids, tuple(NAMES[i] for i in ids), {}, masks)


def segmentation(*rows):
    return Segmentation(np.array(rows, np.uint8), NAMES, np.zeros((3, 3), np.uint8), {})


def test_classifiers_agree_in_the_best_class():
    decisions, verdicts = compared(
        "classify", (classes(0, 1), classes(0, 2)), (classes(0, 1), classes(1, 0))
    )
    assert verdicts == [True, False]
    assert decisions.agreement == 0.5
    assert decisions.figures() == {"top1": 0.5, "top5": 0.75}


A, B = (0, 0.9, 0), (50, 0.4, 1)


@pytest.mark.parametrize(
    ("first", "second", "agreement", "expected"),
    [
        ((), (), 1, {"detections": 0, "matched": 0, "box_iou_min": None}),
        ((A, B), (B, A), 1, {"matched": 2, "box_iou_min": 1, "largest_score_difference": 0}),
        ((A, B), (A,), 2 / 3, {"only_reference": 1, "highest_unmatched_score": 0.4}),
        ((A,), (A, B), 2 / 3, {"only_other": 1, "highest_unmatched_score": 0.4}),
        ((A,), ((0, 0.7, 0),), 1, {"matched": 1, "largest_score_difference": 0.2}),
        ((A,), ((0, 0.9, 2),), 0, {"matched": 0}),
        ((A,), ((2, 0.9, 0),), 0, {"matched": 1, "box_iou_min": 8 / 12}),
        ((A,), ((9, 0.9, 0),), 0, {"matched": 0}),
        ((A, A), (A,), 2 / 3, {"matched": 1, "only_reference": 1}),
    ],
    ids=["none", "order", "lost", "more", "score", "class", "moved", "elsewhere", "twice"],
)
def test_detectors_agree_in_matched_boxes(first, second, agreement, expected):
    decisions, verdicts = compared("detect", (detections(*first), detections(*second)))
    assert decisions.agreement == pytest.approx(agreement)
    assert verdicts == [agreement == 1]
    figures = decisions.figures()
    assert {name: figures[name] for name in expected} == pytest.approx(expected)


def test_masks_must_overlap_as_boxes_must():
    whole, part, empty = (
        np.ones((1, 4, 4), bool),
        np.ones((1, 4, 4), bool),
        np.zeros((1, 4, 4), bool),
    )
    part[0, 0] = False
    decisions, verdicts = compared(
        "detect",
        *(
            (detections(A, masks=a), detections(A, masks=b))
            for a, b in ((whole, part), (empty,) * 2)
        ),
    )
    assert verdicts == [False, True]
    figures = decisions.figures()
    assert (figures["mask_iou_min"], figures["mask_iou_mean"]) == (0.75, 0.875)
    assert (decisions.agreement, figures["matched"]) == (0.5, 2)


def test_segmenters_agree_in_pixels():
    decisions, verdicts = compared(
        "segment",
        (segmentation((0, 0, 1, 255)), segmentation((0, 1, 1, 255))),
        (segmentation((0,)), segmentation((0,))),
    )
    assert verdicts == [False, True]
    assert decisions.agreement == 3 / 4
    assert [row["iou"] for row in decisions.per_class()] == [2 / 3, 1 / 2, None]
    assert decisions.figures() == pytest.approx(
        {"pixels": 3 / 4, "pixels_of_worst_picture": 2 / 3, "mean_class_iou": 7 / 12}
    )


@pytest.mark.parametrize("task", DECISIONS)
def test_where_nothing_was_decided_all_agrees(task):
    assert DECISIONS[task](NAMES, LIMITS).agreement == 1


@pytest.mark.parametrize(
    ("limits", "message"),
    [((-1, 1, 1), "tolerance must"), ((0, 2, 1), "min_agreement must"), ((0, 1, -1), "min_iou")],
    ids=str,
)
def test_limits_are_checked(limits, message):
    with pytest.raises(InputError, match=message):
        Limits(*limits)
