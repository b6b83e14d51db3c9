from dataclasses import replace

import numpy as np
import pytest

from edgevit import Geometry, InputSpec, ModelSpec
from edgevit.core.model.heads import AnchorGrid, AnchorHead, BoxHead, Coder, Selection
from edgevit.core.tasks import detect
from edgevit.core.tasks.boxes import anchors_of
from edgevit.errors import InferenceError, InputError

# A 200 x 100 image letterboxed into the upper half of 64 x 64: half an input pixel is lost nowhere.
GEOMETRY = Geometry((100, 200), (0, 0, 200, 100), (64, 64), (0, 0, 64, 32))
BOXES = BoxHead(Selection(score_threshold=0.25), mask_threshold=0.5)
ANCHORS = AnchorHead(AnchorGrid((8, 16), (1.0,), (2.0, 3.0)), Coder(), 10, Selection())
NAMES = ("cat", "dog", "emu")


def spec_with(head):
    size = InputSpec((64, 64), resize="letterbox", crop_pct=1.0)
    return ModelSpec("tiny", "tiny", "tiny", "detect", size, NAMES, head.to_dict())


def read(outputs, head=BOXES, geometry=GEOMETRY, **parameters):
    spec = spec_with(head)
    wanted = detect.parameters(spec, head, **parameters)
    return detect.read(outputs, geometry, spec=spec, head=head, wanted=wanted)


def box_outputs(*rows):
    """Rows of (class id, score, x0, y0, x1, y1), each with a mask that is full."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return {
        "boxes": table[None, :, 2:].copy(),
        "scores": table[None, :, 1].copy(),
        "class_ids": table[None, :, 0].astype(np.int64),
        "masks": np.ones((1, len(table), 4, 4), np.float32),
    }


CAT = (0, 0.5, 16, 8, 32, 24)
DOG = (1, 0.75, 16, 8, 32, 24)


def test_nothing_found_is_no_detections():
    for outputs in (box_outputs(), box_outputs((0, 0.1, 0, 0, 9, 9))):
        found = read(outputs, masks="bool")
        assert (len(found), found.boxes.shape, found.class_names) == (0, (0, 4), ())
        assert found.masks.shape == (0, 100, 200)


def test_boxes_come_in_source_pixels_best_first():
    found = read(box_outputs(CAT, DOG))
    assert found.class_names == ("dog", "cat")
    assert found.class_ids.tolist() == [1, 0]
    assert found.scores.tolist() == [0.75, 0.5]
    assert found.boxes.tolist() == [[50, 25, 100, 75]] * 2
    assert (found.boxes.dtype, found.class_ids.dtype) == (np.float32, np.int64)
    assert found.masks is None


@pytest.mark.parametrize(
    ("rows", "parameters", "names"),
    [
        ([CAT, DOG], {"score_threshold": 0.5}, ["dog"]),
        ([CAT, DOG], {"score_threshold": 0}, ["dog", "cat"]),
        ([CAT, DOG], {"score_threshold": np.float32(0.6)}, ["dog"]),
        ([CAT, DOG], {"max_detections": 1}, ["dog"]),
        ([CAT, DOG], {"class_names": ["cat", "emu"]}, ["cat"]),
        ([CAT, DOG], {"class_names": []}, []),
        ([CAT, CAT], {}, ["cat"]),
        ([CAT, (0, 0.9, 16, 8, 32, 8)], {}, ["cat"]),
        ([CAT, (0, 0.9, 16, 40, 32, 60)], {}, ["cat"]),
    ],
    ids=[
        "threshold",
        "zero threshold",
        "threshold as array value",
        "max detections",
        "classes",
        "no classes",
        "twice",
        "empty box",
        "in the padding",
    ],
)
def test_what_is_selected(rows, parameters, names):
    assert list(read(box_outputs(*rows), **parameters).class_names) == names


def test_class_agnostic_suppression_lets_the_better_class_win():
    head = replace(BOXES, selection=replace(BOXES.selection, class_agnostic=True))
    assert read(box_outputs(CAT, DOG), head).class_names == ("dog",)


def test_boxes_are_clipped_to_the_image_and_masks_keep_their_own_box():
    outputs = box_outputs((2, 0.9, 32, 16, 96, 48))
    outputs["masks"][0, 0, 1:] = 0
    found = read(outputs, masks="bool")
    assert found.boxes.tolist() == [[100, 50, 200, 100]]
    rows = np.flatnonzero(found.masks[0].any(axis=1))
    # The mask's first of four rows spans the upper quarter of the box that the graph answered.
    assert (rows[0], rows[-1]) == (50, 74)


def test_masks_may_be_those_of_the_first_candidates():
    outputs = box_outputs(DOG, (0, 0.5, 40, 8, 60, 24), (2, 0.1, 0, 0, 9, 9))
    whole = read(outputs, masks="rle").masks
    outputs["masks"] = outputs["masks"][:, :2]
    assert read(outputs, masks="rle").masks == whole
    outputs["masks"] = outputs["masks"][:, :1]
    assert len(read(outputs)) == 2
    with pytest.raises(InferenceError, match=r"first 1 candidates only, .* 2 is a detection"):
        read(outputs, masks="rle")


@pytest.mark.parametrize("form", ["bool", "rle"])
def test_masks_are_pasted_where_asked_for(form):
    outputs = box_outputs(CAT, DOG)
    outputs["masks"][0, 0] = 0
    masks = read(outputs, masks=form).masks
    areas = [mask.sum() if form == "bool" else mask.area for mask in masks]
    assert areas[0] > 2000
    assert areas[1] == 0


def test_a_crop_is_undone():
    geometry = Geometry((100, 200), (50, 0, 150, 100), (64, 64), (0, 0, 64, 64))
    assert read(box_outputs(CAT), geometry=geometry).boxes.tolist() == [[75, 12.5, 100, 37.5]]


def anchor_outputs(*candidates):
    """Candidates of (anchor, class id, score, deltas)."""
    anchors, ids, scores, deltas = zip(*candidates, strict=True)
    return {
        "indices": np.array([anchors]) * len(NAMES) + np.array([ids]),
        "scores": np.array([scores], np.float32),
        "deltas": np.array([deltas], np.float32),
    }


def test_anchors_are_counted_over_the_levels():
    first_of_second_level = 8 * 8 * 2
    outputs = anchor_outputs(
        (2 * 9 + 1, 2, 0.5, (0, 0, 0, 0)), (first_of_second_level, 0, 0.75, (1, 1, 0, 0))
    )
    found = read(outputs, ANCHORS)
    anchors = anchors_of(ANCHORS.anchors, (64, 64))
    assert found.class_names == ("cat", "emu")
    expected = np.stack([anchors[128] + 32, anchors[19]])
    np.testing.assert_array_equal(
        found.boxes, GEOMETRY.boxes_to_source(expected.clip(0, (64, 32) * 2))
    )


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=["nan", "inf"])
@pytest.mark.parametrize("name", ["boxes", "scores"])
def test_what_is_not_finite_is_refused(name, value):
    outputs = box_outputs(CAT, DOG)
    outputs[name][0, 0] = value
    with pytest.raises(InferenceError, match="not finite"):
        read(outputs)


@pytest.mark.parametrize("index", [-1, 3])
def test_a_class_out_of_range_is_refused(index):
    outputs = box_outputs(CAT)
    outputs["class_ids"][:] = index
    with pytest.raises(InferenceError, match=f"class_ids from {index} to {index}, .* 3 of them"):
        read(outputs)


def test_an_anchor_out_of_range_is_refused():
    with pytest.raises(InferenceError, match="indices from 480 to 480, but its spec has 480"):
        read(anchor_outputs((160, 0, 0.5, (0, 0, 0, 0))), ANCHORS)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"score_threshold": 1.5}, "score_threshold must be from 0 to 1, not 1.5"),
        ({"score_threshold": float("nan")}, "score_threshold must be from 0 to 1"),
        ({"score_threshold": "0.5"}, "score_threshold must be a number from 0 to 1"),
        ({"score_threshold": True}, "score_threshold must be a number"),
        ({"max_detections": 0}, "max_detections must be a whole number from 1 up"),
        ({"max_detections": 2.0}, "max_detections must be a whole number"),
        ({"max_detections": True}, "max_detections must be a whole number"),
        ({"class_names": ["catt"]}, "'tiny' has no class 'catt' .did you mean 'cat'"),
        ({"class_names": "cat"}, "must be a list of names, not the text 'cat'"),
        ({"masks": "png"}, "masks must be one of bool, rle or None, not 'png'"),
    ],
    ids=str,
)
def test_unusable_parameters_are_refused(parameters, message):
    with pytest.raises(InputError, match=message):
        read(box_outputs(CAT), **parameters)


@pytest.mark.parametrize("head", [ANCHORS, BoxHead(Selection())], ids=["anchors", "boxes"])
def test_masks_of_a_model_without_masks_are_refused(head):
    with pytest.raises(InputError, match="'tiny' finds boxes only; leave `masks` out"):
        read({}, head, masks="rle")
