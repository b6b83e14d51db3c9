"""Detectors and segmenters through the Predictor, on every CPU runtime that is installed."""

from importlib.util import find_spec

import numpy as np
import pytest

import edgevit
from edgevit.core.tasks.rle import RLE
from edgevit.doctor import self_test
from edgevit.errors import InputError, ModelError

BACKENDS = [
    pytest.param(
        name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")
    )
    for name in ("onnxruntime", "openvino")
]
COLORS = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0)}


def picture(height, width, **regions):
    """Black, with rectangles (x0, y0, x1, y1) in the colors they are named after."""
    image = np.zeros((height, width, 3), np.uint8)
    for color, (x0, y0, x1, y1) in regions.items():
        image[y0:y1, x0:x1] = COLORS[color]
    return image


# 64 x 48 goes into the upper left of 32 x 32 at half its size, so a cell is 16 x 16 of its pixels.
SCENE = picture(48, 64, red=(16, 0, 32, 16), blue=(48, 32, 64, 48))


@pytest.fixture(params=BACKENDS)
def load(request, tiny):
    """Loads one of the tiny models on a backend; closes it at the end."""
    loaded = []

    def load(name, **arguments):
        path = tiny.with_name(f"{name}.onnx")
        loaded.append(edgevit.Predictor(path, backend=request.param, **arguments))
        return loaded[-1]

    yield load
    for predictor in loaded:
        predictor.close()


def test_a_detector_finds_what_is_there(load):
    found = load("tiny_anchors").detect(SCENE)
    assert sorted(found.class_names) == ["blue", "red"]
    boxes = dict(zip(found.class_names, found.boxes.tolist(), strict=True))
    assert boxes["red"] == pytest.approx([16, 0, 32, 16], abs=1e-3)
    assert boxes["blue"] == pytest.approx([48, 32, 64, 48], abs=1e-3)
    assert list(found.timings_ms) == ["preprocess", "infer", "postprocess"]


def test_a_detector_finds_nothing_in_black(load):
    assert len(load("tiny_anchors").detect(0 * SCENE)) == 0


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ({"max_detections": 1}, 1),
        ({"class_names": ["red", "green"]}, 1),
        ({"score_threshold": 1.0}, 0),
        ({}, 2),
    ],
    ids=str,
)
def test_detections_are_selected_as_the_caller_says(load, parameters, count):
    assert len(load("tiny_anchors").detect(SCENE, **parameters)) == count


def test_masks_come_where_they_are_asked_for(load):
    predictor = load("tiny_boxes")
    assert predictor.detect(SCENE).masks is None
    expected = np.zeros((48, 64), bool)
    expected[0:16, 16:24] = True
    assert np.array_equal(predictor.detect(SCENE, masks="bool").masks, expected[None])
    assert predictor.detect(SCENE, masks="rle").masks == (RLE.from_mask(expected),)


# 32 x 24 goes into 16 x 16 at half its size, so a cell is 8 x 8 of its pixels.
STREET = picture(24, 32, green=(0, 0, 32, 16), blue=(16, 16, 32, 24), red=(0, 16, 16, 24))


def test_a_segmenter_of_classes_labels_every_pixel(load):
    result = load("tiny_classes").segment(STREET)
    expected = np.zeros((24, 32), int)
    expected[:16] = 1
    expected[16:, 16:] = 2
    assert np.array_equal(result.class_map, expected)
    assert result.class_names == ("red", "green", "blue")
    assert list(result.timings_ms) == ["preprocess", "infer", "postprocess"]


def test_a_segmenter_of_logits_draws_straight_borders_between_cells(load):
    halves = picture(32, 32, green=(0, 0, 16, 32), blue=(16, 0, 32, 32))
    class_map = load("tiny_logits").segment(halves).class_map
    assert (class_map[:, :16] == 1).all()
    assert (class_map[:, 16:] == 2).all()


@pytest.mark.parametrize("name", ["tiny_anchors", "tiny_boxes", "tiny_logits", "tiny_classes"])
def test_calling_mapping_and_the_steps_answer_the_same(load, name):
    predictor = load(name)
    batch, geometry = predictor.preprocess(SCENE)
    results = [
        predictor(SCENE),
        *predictor.map([SCENE, SCENE]),
        predictor.postprocess(predictor.infer(batch), geometry),
    ]
    assert len({result.to_json() for result in results}) == 1


def test_results_own_their_memory(load):
    predictor = load("tiny_boxes")
    found = predictor.detect(SCENE, masks="bool")
    before = found.boxes.copy(), found.scores.copy(), found.masks.copy()
    predictor.detect(255 - SCENE)
    for kept, now in zip(before, (found.boxes, found.scores, found.masks), strict=True):
        assert np.array_equal(kept, now)


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("tiny", "detect", "classify"),
        ("tiny", "segment", "classify"),
        ("tiny_anchors", "classify", "detect"),
        ("tiny_anchors", "segment", "detect"),
        ("tiny_logits", "detect", "segment"),
    ],
)
def test_a_method_for_another_task_names_the_right_one(load, name, wrong, right):
    with pytest.raises(ModelError, match=rf"for {right}, .*call predictor\.{right}\(image\)"):
        getattr(load(name), wrong)(SCENE)


def test_masks_of_a_detector_without_masks_are_refused(load):
    with pytest.raises(InputError, match="finds boxes only"):
        load("tiny_anchors").detect(SCENE, masks="rle")


@pytest.mark.parametrize("name", ["tiny_anchors", "tiny_boxes", "tiny_logits", "tiny_classes"])
def test_dense_models_prove_themselves(tiny, name):
    tests = [test for test in self_test(tiny.with_name(f"{name}.onnx")) if test.device]
    assert tests
    assert [test.problem for test in tests] == [None] * len(tests)
