import copy
import json

import pytest

from edgevit import InputSpec, ModelSpec
from edgevit.core.model.heads import (
    AnchorGrid,
    AnchorHead,
    BoxHead,
    ClassHead,
    Coder,
    MapHead,
    Selection,
)
from edgevit.core.model.task import parse_head
from edgevit.errors import SpecError

ANCHORS = AnchorHead(
    AnchorGrid((8, 16), (0.5, 1.0, 2.0), (4.0,)),
    Coder(stds=(0.1, 0.1, 0.2, 0.2)),
    1000,
    Selection(class_agnostic=True),
)
BOXES = BoxHead(Selection(max_detections=7), mask_threshold=0.5)
HEADS = [
    ("detect", ANCHORS),
    ("detect", BOXES),
    ("detect", BoxHead(Selection())),
    ("segment", MapHead("logits", 4)),
    ("segment", MapHead("classes", 8)),
]


def spec_with(task, head):
    return ModelSpec("tiny", "tiny", "tiny", task, InputSpec((8, 8)), ("cat",), head)


@pytest.mark.parametrize(("task", "head"), HEADS, ids=lambda value: getattr(value, "kind", value))
def test_a_head_survives_a_specs_json(task, head):
    spec = spec_with(task, head.to_dict())
    again = ModelSpec.from_json(spec.to_json())
    assert parse_head(again.task, again.head) == head
    assert again.to_dict()["head"] == json.loads(json.dumps(head.to_dict()))


def test_a_classifiers_head_is_empty():
    assert parse_head("classify", {}) == ClassHead()
    with pytest.raises(SpecError, match="head must be empty"):
        spec_with("classify", {"kind": "boxes"})


def changed(head, path, value):
    data = copy.deepcopy(head.to_dict())
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return data


@pytest.mark.parametrize(
    ("head", "path", "value", "message"),
    [
        (ANCHORS, ("kind",), "boxxes", "head.kind must be one of anchors, boxes"),
        (ANCHORS, ("surprise",), 1, "head has an unknown key 'surprise'"),
        (ANCHORS, ("anchors", "stride"), 1, "did you mean 'strides'"),
        (
            ANCHORS,
            ("anchors", "strides"),
            [],
            "strides must be one or more whole numbers from 1 up",
        ),
        (ANCHORS, ("anchors", "strides"), 8, r"head\.anchors\.strides must be a list, not 8"),
        (
            ANCHORS,
            ("anchors", "strides"),
            [8, 0],
            "strides must be one or more whole numbers from 1 up",
        ),
        (
            ANCHORS,
            ("anchors", "strides"),
            [8, 16.5],
            r"strides\[1\] must be a whole number, not 16\.5",
        ),
        (ANCHORS, ("anchors", "ratios"), [-1], "ratios must be one or more positive numbers"),
        (
            ANCHORS,
            ("anchors", "scales"),
            [float("inf")],
            "scales must be one or more positive numbers",
        ),
        (ANCHORS, ("coder", "means"), [0, 0, 0], "means must be a list of 4"),
        (ANCHORS, ("coder", "stds"), [0, 1, 1, 1], "stds must be 4 positive numbers"),
        (ANCHORS, ("coder", "max_log_ratio"), 0, "max_log_ratio must be positive"),
        (ANCHORS, ("candidates_per_level",), 0, "candidates_per_level must be a whole number"),
        (ANCHORS, ("selection",), None, "head.selection must be a mapping"),
        (BOXES, ("selection", "score_threshold"), 1.1, "score_threshold must be from 0 to 1"),
        (BOXES, ("selection", "iou_threshold"), "0.5", "iou_threshold must be a number"),
        (BOXES, ("selection", "class_agnostic"), 1, "class_agnostic must be true or false"),
        (BOXES, ("selection", "max_detections"), 0, "max_detections must be a whole number"),
        (BOXES, ("mask_threshold",), -0.1, "mask_threshold must be from 0 to 1"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else None,
)
def test_a_wrong_detection_head_is_refused(head, path, value, message):
    with pytest.raises(SpecError, match=message):
        spec_with("detect", changed(head, path, value))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "head lacks the key 'kind', one of logits, classes"),
        ([], "head must be a mapping, not list"),
        ({"kind": "boxes", "stride": 4}, "head.kind must be one of logits, classes"),
        ({"kind": "logits"}, "head lacks the key 'stride'"),
        ({"kind": "logits", "stride": 2.5}, "head.stride must be a whole number"),
    ],
    ids=["empty", "list", "other task", "missing", "fraction"],
)
def test_a_wrong_segmentation_head_is_refused(data, message):
    with pytest.raises(SpecError, match=message):
        spec_with("segment", data)


def test_a_map_head_of_another_kind_is_refused():
    with pytest.raises(SpecError, match="kind must be one of logits, classes"):
        MapHead("probabilities", 4)
