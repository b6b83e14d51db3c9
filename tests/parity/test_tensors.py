import numpy as np
import pytest

from edgevit.core.model.heads import AnchorGrid, AnchorHead, BoxHead, ClassHead, Coder, Selection
from edgevit.parity.tensors import comparable, relative_error, tally_for

INF, NAN = np.inf, np.nan
ANCHORS = AnchorHead(AnchorGrid((8,), (1.0,), (2.0,)), Coder(), 8, Selection())


def f32(*values):
    return np.array(values, np.float32)


def parity_of(*pairs):
    tally = tally_for("logits", pairs[0][0])
    for reference, other in pairs:
        tally.add(reference, other)
    return tally.parity()


def test_errors_are_added_up_over_pictures():
    found = parity_of((f32(1, 3), f32(1, 3)), (f32(1, 3), f32(1.5, 3)))
    assert (found.values, found.max_error, found.mean_error, found.std) == (4, 0.5, 0.125, 1.0)
    assert found.relative_error == pytest.approx(0.25)  # the root of a quarter over four
    assert found.cosine == pytest.approx((1.5 + 9) / np.sqrt(10 * 11.25))  # the worse picture's
    assert found.changed is None
    assert found.exceeds(0.24)
    assert not found.exceeds(0.26)


def test_ids_are_the_same_or_not():
    found = parity_of((np.array([1, 2, 3, 4]), np.array([1, 2, 4, 3])))
    assert (found.changed, found.relative_error, found.cosine) == (0.5, None, None)
    assert not found.exceeds(0)


def test_values_that_are_not_finite_on_one_side_exceed_every_tolerance():
    found = parity_of((f32(1, INF, NAN, 2, 3), f32(1, INF, NAN, NAN, -INF)))
    assert (found.not_finite, found.values, found.max_error) == (2, 1, 0.0)
    assert found.exceeds(1e9)


@pytest.mark.parametrize(
    ("reference", "other", "error"),
    [
        (f32(), f32(), 0),
        (f32(0, 2), f32(0, 2), 0),
        (f32(0, 2), f32(1, 2), np.sqrt(0.5)),
        (f32(5, 5), f32(5, 6), np.sqrt(0.5)),  # without spread: in the values' own unit
        (f32(0, 2), f32(0, 2, 2), INF),
        (f32(0, 2), f32(0, NAN), INF),
        (f32(NAN, INF), f32(NAN, INF), 0),
        (np.array([0, 100]), np.array([0, 101]), 0.5),
        (np.array([True, True]), np.array([True, False]), 0.5),
        (np.array([0, 100], np.uint8), np.array([0, 101], np.uint8), np.sqrt(0.5) / 50),
    ],
    ids=str,
)
def test_a_tensors_relative_error(reference, other, error):
    assert relative_error(reference, other) == pytest.approx(error)


def test_candidates_of_anchors_are_paired_whatever_their_order():
    deltas = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    first = {"scores": f32(0.9, 0.5, 0.1)[None], "indices": np.array([[7, 3, 5]]), "deltas": deltas}
    second = {
        "scores": f32(0.8, 0.4, 0.2)[None],
        "indices": np.array([[3, 7, 6]]),
        "deltas": deltas + 100,
    }
    pairs = comparable(first, second, ANCHORS)
    assert [array.tolist() for array in pairs["indices"]] == [[7, 3, 5], [7, 3, -1]]
    np.testing.assert_array_equal(pairs["scores"], [f32(0.5, 0.9), f32(0.8, 0.4)])
    assert pairs["deltas"][0][:, 0].tolist() == [4, 0]
    assert pairs["deltas"][1][:, 0].tolist() == [100, 104]


def test_boxes_are_paired_by_class_and_overlap():
    boxes = f32(0, 0, 9, 9, 20, 20, 29, 29, 0, 0, 9, 9).reshape(1, 3, 4)
    masks = np.arange(2, dtype=np.float32).reshape(1, 2, 1, 1)  # of the first two only
    first = {
        "boxes": boxes,
        "scores": f32(0.9, 0.8, 0.0)[None],  # the last place is empty
        "class_ids": np.array([[1, 2, 1]]),
        "masks": masks,
    }
    second = {
        "boxes": boxes[:, [1, 0, 2]],
        "scores": f32(0.7, 0.6, 0.5)[None],
        "class_ids": np.array([[2, 0, 1]]),  # the second is of another class
        "masks": masks,
    }
    pairs = comparable(first, second, BoxHead(Selection(), 0.5))
    assert {
        name: (a.tolist(), b.tolist()) for name, (a, b) in pairs.items() if name != "boxes"
    } == {
        "scores": ([f32(0.9)[0], f32(0.8)[0]], [0.5, f32(0.7)[0]]),
        "masks": ([[[1.0]]], [[[0.0]]]),
    }
    np.testing.assert_array_equal(*pairs["boxes"])


def test_logits_are_compared_by_place():
    assert comparable({"y": f32(1)}, {"y": f32(2)}, ClassHead()) == {"y": (f32(1), f32(2))}
