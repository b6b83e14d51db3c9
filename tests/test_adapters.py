import json

import numpy as np
import pytest

from edgevit import Detections
from edgevit.adapters import to_coco, to_supervision, write_coco
from edgevit.core.tasks.rle import RLE
from edgevit.errors import InputError

MASKS = np.zeros((2, 40, 60), bool)
MASKS[0, 10:20, 5:25] = True
MASKS[1, 0:40, 30:60] = True


def detections(count=2, masks=None):
    boxes = np.array([[5, 10, 25, 20], [30, 0, 60, 40]], np.float32)[:count]
    scores = np.array([0.5, 0.25], np.float32)[:count]
    return Detections(boxes, scores, np.array([3, 1])[:count], ("cat", "dog")[:count], {}, masks)


def run_lengths():
    return tuple(map(RLE.from_mask, MASKS))


def test_coco_results_of_nothing_are_nothing():
    assert to_coco(detections(0), 7) == []


def test_coco_boxes_have_a_corner_and_a_size():
    first, second = to_coco(detections(), 7)
    assert first == {"image_id": 7, "category_id": 3, "bbox": [5, 10, 20, 10], "score": 0.5}
    assert second["bbox"] == [30, 0, 30, 40]


def test_coco_results_take_the_data_sets_category_ids():
    records = to_coco(detections(), 7, {"cat": 17, "dog": 18, "emu": 19})
    assert [record["category_id"] for record in records] == [17, 18]


def test_a_class_without_a_category_is_refused():
    with pytest.raises(InputError, match="category_ids has no id for the class 'dog'"):
        to_coco(detections(), 7, {"cat": 17})


@pytest.mark.parametrize("masks", [MASKS, run_lengths()], ids=["bool", "run lengths"])
def test_coco_results_have_masks_as_run_lengths(masks):
    records = to_coco(detections(masks=masks), 7)
    assert [record["segmentation"] for record in records] == [r.to_dict() for r in run_lengths()]


def test_a_file_holds_the_results_of_all_images(tmp_path):
    path = tmp_path / "results.json"
    write_coco(path, [(1, detections()), (2, detections(0)), (3, detections(1))])
    assert [record["image_id"] for record in json.loads(path.read_text())] == [1, 1, 3]


def test_pycocotools_reads_the_file(tmp_path):
    coco_module = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    path = tmp_path / "results.json"
    write_coco(path, [(1, detections(masks=run_lengths()))])
    coco = coco_module.COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": 1, "height": 40, "width": 60}],
        "categories": [{"id": index, "name": str(index)} for index in range(4)],
        "annotations": [],
    }
    coco.createIndex()
    loaded = coco.loadRes(str(path))
    assert [annotation["area"] for annotation in loaded.dataset["annotations"]] == [200, 1200]


@pytest.mark.parametrize("masks", [None, MASKS, run_lengths()], ids=["none", "bool", "run lengths"])
def test_supervision_gets_the_same_detections(masks):
    pytest.importorskip("supervision", reason="supervision is not installed")
    supervised = to_supervision(detections(masks=masks))
    assert supervised.xyxy.tolist() == detections().boxes.tolist()
    assert supervised.confidence.tolist() == [0.5, 0.25]
    assert supervised.class_id.tolist() == [3, 1]
    assert supervised.data["class_name"].tolist() == ["cat", "dog"]
    assert (supervised.mask is None) == (masks is None)
    assert masks is None or np.array_equal(supervised.mask, MASKS)


@pytest.mark.parametrize("masks", [None, ()], ids=["without masks", "with masks"])
def test_supervision_gets_nothing_where_nothing_was_found(masks):
    pytest.importorskip("supervision", reason="supervision is not installed")
    assert len(to_supervision(detections(0, masks))) == 0
