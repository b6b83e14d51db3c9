import json

import numpy as np
import pytest

from edgevit import Detections, Segmentation
from edgevit.core.tasks.rle import RLE
from edgevit.errors import InputError

MASKS = np.zeros((2, 4, 6), bool)
MASKS[0, 1:3, 2:5] = True
CLASS_MAP = np.array([[0, 0, 2], [2, 2, 255]], np.uint8)
PALETTE = np.zeros((3, 3), np.uint8)
NAMES = ("road", "sky", "tree")


def detections(count=2, masks=None, **changes):
    fields = {
        "boxes": np.arange(4 * count, dtype=np.float32).reshape(count, 4),
        "scores": np.full(count, 0.5, np.float32),
        "class_ids": np.arange(count),
        "class_names": ("cat", "größe")[:count],
        "timings_ms": {},
        "masks": masks,
    }
    return Detections(**{**fields, **changes})


@pytest.mark.parametrize("count", [0, 1, 2])
def test_detections_become_json(count):
    document = json.loads(detections(count).to_json())
    assert list(document) == ["boxes", "scores", "class_ids", "class_names"]
    assert all(len(column) == count for column in document.values())


def test_detections_become_text():
    assert str(detections()) == "cat 50.0%, größe 50.0%"
    assert str(detections(0)) == ""
    assert len(detections()) == 2


@pytest.mark.parametrize(
    "masks", [MASKS, tuple(map(RLE.from_mask, MASKS))], ids=["bool", "run lengths"]
)
def test_masks_become_coco_run_lengths(masks):
    document = detections(masks=masks).to_dict()
    assert document["masks"] == [RLE.from_mask(mask).to_dict() for mask in MASKS]


def test_without_masks_there_are_no_run_lengths():
    assert detections().rles() == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": np.zeros(3, np.float32)}, "2 boxes, 3 scores, 2 class_ids, 2 class_names"),
        ({"class_names": ("cat",)}, "1 class_names"),
        ({"masks": MASKS[:1]}, "1 masks"),
        ({"boxes": np.zeros((2, 5), np.float32)}, r"float32 \(K, 4\), xyxy, not float32 \(2, 5\)"),
        ({"boxes": np.zeros((2, 4))}, "not float64"),
    ],
    ids=["scores", "names", "masks", "shape", "dtype"],
)
def test_detections_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        detections(**changes)


def test_a_segmentation_counts_what_the_network_saw():
    segmentation = Segmentation(CLASS_MAP, NAMES, PALETTE, {})
    assert json.loads(segmentation.to_json()) == {
        "class_names": list(NAMES),
        "pixels_per_class": [2, 0, 3],
    }
    assert str(segmentation) == "tree 50.0%, road 33.3%"
    assert segmentation.unseen == 255


def test_a_segmentation_of_no_pixels_is_empty():
    empty = Segmentation(np.zeros((0, 3), np.uint16), NAMES, PALETTE, {})
    assert str(empty) == ""
    assert empty.pixels_per_class().tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_map": CLASS_MAP.astype(np.int64)}, "uint8 or uint16 .* not int64"),
        ({"class_map": CLASS_MAP[0]}, r"not uint8 \(3,\)"),
        ({"palette": PALETTE[:2]}, r"palette must be uint8 \(3, 3\)"),
        ({"palette": PALETTE.astype(int)}, "not int64"),
        (
            {"class_names": NAMES * 100, "palette": np.zeros((300, 3), np.uint8)},
            "room for 255 classes, not 300",
        ),
    ],
    ids=["dtype", "shape", "short palette", "palette dtype", "too many classes"],
)
def test_a_segmentation_that_does_not_fit_is_refused(changes, message):
    fields = {"class_map": CLASS_MAP, "class_names": NAMES, "palette": PALETTE, "timings_ms": {}}
    with pytest.raises(InputError, match=message):
        Segmentation(**{**fields, **changes})
