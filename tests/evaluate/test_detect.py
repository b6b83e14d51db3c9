"""COCO AP, against pycocotools' own reading of the files, and against numbers made by hand."""

import json
import sys
from contextlib import redirect_stdout
from io import StringIO

import cv2
import numpy as np
import pytest

import edgevit
from edgevit.adapters import write_coco
from edgevit.core.tasks.rle import RLE
from edgevit.errors import EdgeVitError, InputError
from edgevit.evaluate import DataSet, evaluate
from edgevit.evaluate.detect import MAX_DETECTIONS, OVERALL, SCORE_THRESHOLD

coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
from pycocotools.cocoeval import COCOeval  # noqa: E402

CATEGORIES = {"blue": 3, "red": 7, "green": 12}
COLORS = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0)}
# 64 x 48 goes into 32 x 32 at half its size: the models find cells of 16 x 16 pixels.
SIZE = (48, 64)
RED, BLUE = ("red", [16, 0, 16, 16]), ("blue", [48, 32, 16, 16])


class CocoFolder:
    """A COCO data set of black pictures with colored boxes, written as the test goes on."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "images").mkdir()
        (folder / "annotations").mkdir()
        self.document = {
            "images": [],
            "annotations": [],
            "categories": [{"id": number, "name": name} for name, number in CATEGORIES.items()],
        }

    def add(self, drawn, annotated):
        """Add a picture that shows some boxes and is annotated with others: (color, xywh)."""
        image_id = 40 + len(self.document["images"])
        picture = np.zeros((*SIZE, 3), np.uint8)
        for color, (x, y, width, height) in drawn:
            picture[y : y + height, x : x + width] = COLORS[color]
        cv2.imwrite(str(self.folder / "images" / f"{image_id}.png"), picture)
        self.document["images"].append(
            {"id": image_id, "file_name": f"{image_id}.png", "height": SIZE[0], "width": SIZE[1]}
        )
        for color, box in annotated:
            self.document["annotations"].append(
                {
                    "id": len(self.document["annotations"]),
                    "image_id": image_id,
                    "category_id": CATEGORIES[color],
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
        return self.write()

    def write(self, name="instances_val.json"):
        self.path = self.folder / "annotations" / name
        self.path.write_text(json.dumps(self.document))
        return self.folder


@pytest.fixture
def data(tmp_path):
    return CocoFolder(tmp_path)


@pytest.fixture
def load(tiny):
    loaded = []

    def load(name):
        loaded.append(edgevit.Predictor(tiny.with_name(f"{name}.onnx")))
        return loaded[-1]

    yield load
    for predictor in loaded:
        predictor.close()


@pytest.fixture
def predictor(load):
    return load("tiny_anchors")


def figures_of_pycocotools(data, predictor, kind, folder, masks=None):
    """Write the detections as a results file, and let pycocotools do everything from the files."""
    results = []
    for image in data.document["images"]:
        path = data.folder / "images" / image["file_name"]
        found = predictor.detect(path, SCORE_THRESHOLD, MAX_DETECTIONS, masks=masks)
        results.append((image["id"], found))
    write_coco(folder / "results.json", results, CATEGORIES)
    records = json.loads((folder / "results.json").read_text())
    if kind == "segm":  # as mmdet does: a box would be taken for the size of the object
        records = [{key: record[key] for key in record if key != "bbox"} for record in records]
    numbered = {**data.document}
    numbered["annotations"] = [
        {**annotation, "id": annotation["id"] + 1} for annotation in numbered["annotations"]
    ]
    (folder / "truth.json").write_text(json.dumps(numbered))
    (folder / "results.json").write_text(json.dumps(records))
    with redirect_stdout(StringIO()):
        truth = coco.COCO(str(folder / "truth.json"))
        evaluator = COCOeval(truth, truth.loadRes(str(folder / "results.json")), kind)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [None if value < 0 else value for value in evaluator.stats.tolist()]


def test_the_figures_are_those_of_pycocotools(data, predictor, tmp_path):
    data.add([RED, BLUE], [RED, ("blue", [46, 31, 17, 15])])
    data.add([RED, BLUE], [("red", [18, 0, 16, 18]), RED, ("green", [0, 0, 50, 40])])
    data.add([BLUE], [])
    expected = figures_of_pycocotools(data, predictor, "bbox", tmp_path)
    report = evaluate(predictor, data.folder)
    assert 0.1 < report.overall["bbox_AP"] < 0.9
    assert report.overall == dict(zip([f"bbox_{name}" for name in OVERALL], expected, strict=True))


def test_masks_are_measured_where_model_and_data_have_them(data, load, tmp_path):
    folder = data.add([RED], [RED, RED])
    for annotation, width in zip(data.document["annotations"], (8, 11), strict=True):
        mask = np.zeros(SIZE, bool)
        mask[0:16, 16 : 16 + width] = True  # the model answers the left half
        annotation["segmentation"] = RLE.from_mask(mask).to_dict()
        annotation["area"] = int(mask.sum())
    data.write()
    predictor = load("tiny_boxes")
    expected = figures_of_pycocotools(data, predictor, "segm", tmp_path, masks="rle")
    report = evaluate(predictor, folder)
    named = {f"segm_{name}": value for name, value in zip(OVERALL, expected, strict=True)}
    assert {name: report.overall[name] for name in named} == named
    assert 0 < report.overall["segm_AP"] < 1
    rows = {row["class_name"]: row for row in report.per_class}
    assert rows["red"]["segm_AP"] == report.overall["segm_AP"]


def test_polygons_are_masks(data, load):
    folder = data.add([RED], [RED])
    data.document["annotations"][0]["segmentation"] = [[16, 0, 24, 0, 24, 16, 16, 16]]
    data.write()
    assert evaluate(load("tiny_boxes"), folder).overall["segm_AP"] == pytest.approx(1)


def test_without_masks_in_the_data_the_report_says_so(data, load):
    report = evaluate(load("tiny_boxes"), data.add([RED], [RED]))
    assert report.overall["bbox_AP"] == pytest.approx(1)
    assert not any(name.startswith("segm") for name in report.overall)
    assert "not every annotation has a mask: no AP of masks" in report.notes


def test_each_class_has_its_own_figures(data, predictor):
    report = evaluate(predictor, data.add([RED, BLUE], [RED, ("blue", [0, 0, 16, 16])]))
    assert report.per_class == [
        {
            "class_id": 0,
            "class_name": "red",
            "boxes": 1,
            "bbox_AP": pytest.approx(1),
            "bbox_AP50": pytest.approx(1),
        },
        {
            "class_id": 1,
            "class_name": "green",
            "boxes": 0,
            "bbox_AP": None,
            "bbox_AP50": None,
        },
        {"class_id": 2, "class_name": "blue", "boxes": 1, "bbox_AP": 0, "bbox_AP50": 0},
    ]
    assert report.overall["bbox_AP"] == pytest.approx(0.5)
    assert list(report.notes) == ["no object is 'green': not in AP"]


def test_half_of_the_objects_found_is_half_of_the_recalls(data, predictor):
    report = evaluate(predictor, data.add([RED], [RED, ("red", [0, 32, 16, 16])]))
    assert report.overall["bbox_AP"] == pytest.approx(51 / 101)  # recalls 0, 0.01, ... 0.5
    assert report.overall["bbox_AR100"] == pytest.approx(0.5)


def test_a_box_counts_up_to_the_overlap_it_has(data, predictor):
    report = evaluate(predictor, data.add([RED], [("red", [16, 0, 16, 21])]))
    # An IoU of 16 / 21 passes 0.50, 0.55, ... 0.75 of the ten thresholds.
    assert report.overall["bbox_AP"] == pytest.approx(0.6)
    assert report.overall["bbox_AP75"] == pytest.approx(1)


def test_nothing_found_gives_0(data, predictor):
    report = evaluate(predictor, data.add([], [RED]))
    assert report.overall["bbox_AP"] == report.overall["bbox_AP50"] == 0


def test_crowds_are_not_counted(data, predictor):
    folder = data.add([RED, BLUE], [RED, BLUE])
    data.document["annotations"][1]["iscrowd"] = 1
    data.write()
    report = evaluate(predictor, folder)
    assert report.overall["bbox_AP"] == pytest.approx(1)
    assert {row["class_name"]: row["boxes"] for row in report.per_class}["blue"] == 0


def test_areas_and_crowd_marks_may_be_missing(data, predictor):
    folder = data.add([RED], [RED])
    for key in ("area", "iscrowd"):
        del data.document["annotations"][0][key]
    data.write()
    assert evaluate(predictor, folder).overall["bbox_AP_small"] == pytest.approx(1)


def test_classes_that_the_data_does_not_know_are_not_looked_for(data, predictor):
    data.document["categories"] = [{"id": 7, "name": "red"}]
    report = evaluate(predictor, data.add([RED, BLUE], [RED]))
    assert report.overall["bbox_AP"] == pytest.approx(1)
    assert [row["class_name"] for row in report.per_class] == ["red"]
    assert "the data does not know 'green', 'blue': not looked for" in report.notes


def test_the_data_may_have_its_own_names_and_unused_categories(data, predictor):
    data.document["categories"] = [
        *({"id": 0, "name": "things"}, {"id": 7, "name": "rot"}),
        *({"id": 3, "name": "blau"}, {"id": 12, "name": "gruen"}),
    ]
    folder = data.add([RED, BLUE], [RED, BLUE])
    report = evaluate(predictor, DataSet(folder, class_names=("rot", "gruen", "blau")))
    assert report.overall["bbox_AP"] == pytest.approx(1)
    with pytest.raises(InputError, match="'rot', 'blau' are not among the model's classes"):
        evaluate(predictor, folder)


@pytest.mark.parametrize(
    ("images", "annotations", "split"),
    [
        ("images", "annotations/instances_val.json", None),
        ("images/val", "annotations/instances_val.json", "val"),
        ("val", "annotations/val.json", "val"),
        (".", "instances.json", None),
    ],
)
def test_the_usual_places_are_found(data, predictor, images, annotations, split):
    folder = data.add([RED], [RED])
    data.path.rename(folder / "kept")
    (folder / "images").rename(folder / "moved")
    (folder / images).mkdir(parents=True, exist_ok=True)
    (folder / "moved" / "40.png").rename(folder / images / "40.png")
    (folder / "kept").rename(folder / annotations)
    report = evaluate(predictor, DataSet(folder, split=split))
    assert report.overall["bbox_AP"] == pytest.approx(1)


def test_pictures_and_annotations_may_be_anywhere(data, predictor, tmp_path):
    folder = data.add([RED], [RED])
    data.write("other.json")
    other = DataSet(folder, annotations=data.path, images=folder / "images")
    assert evaluate(predictor, other).overall["bbox_AP"] == pytest.approx(1)


def test_several_annotations_are_to_be_chosen_from(data, predictor):
    folder = data.add([RED], [RED])
    data.write("instances_train.json")
    with pytest.raises(InputError, match=r"several annotations \('instances_train\.json', 'inst"):
        evaluate(predictor, folder)
    assert evaluate(predictor, DataSet(folder, split="train")).images == 1
    with pytest.raises(InputError, match="no annotations that fit"):
        evaluate(predictor, DataSet(folder, split="test"))


def test_a_limit_leaves_the_other_pictures_out(data, predictor):
    data.add([RED], [RED])
    data.add([], [RED])
    report = evaluate(predictor, DataSet(data.folder, limit=1))
    assert (report.images, report.overall["bbox_AP"]) == (1, pytest.approx(1))
    assert {row["class_name"]: row["boxes"] for row in report.per_class}["red"] == 1


def damaged(document, change):
    document = json.loads(json.dumps(document))
    change(document)
    return json.dumps(document)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("images"), "are not COCO instances, .*KeyError"),
        (lambda d: d["images"].clear(), "name no image"),
        (lambda d: d["annotations"][0].pop("bbox"), "are not COCO instances"),
        (lambda d: d["images"][0].pop("height"), "are not COCO instances"),
        (lambda d: d["images"][0].update(height=64, width=48), "is 48x64 .* are for 64x48"),
        (lambda d: d["images"][0].update(file_name="gone.png"), r"gone\.png' cannot be read"),
        (lambda d: d["categories"][0].update(name="red"), "two categories of one name"),
        (lambda d: d["categories"].clear(), "lack categories of their objects"),
        (lambda d: d["categories"].pop(1), "lack categories of their objects"),
    ],
    ids=[
        *("no images key", "no images", "no box", "no size", "other size", "no picture"),
        *("equal names", "no categories", "missing category"),
    ],
)
def test_annotations_that_do_not_fit_are_refused(data, predictor, change, message):
    folder = data.add([RED], [RED])
    data.path.write_text(damaged(data.document, change))
    with pytest.raises(InputError, match=message):
        evaluate(predictor, folder)


@pytest.mark.parametrize("text", ["{", "[]", "3", "\xff"], ids=repr)
def test_a_file_that_is_no_coco_json_is_refused(data, predictor, text):
    folder = data.add([RED], [RED])
    data.path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"instances_val\.json' (cannot be read|are not COCO)"):
        evaluate(predictor, folder)


def test_a_turned_picture_is_measured_upright(data, predictor):
    folder = data.add([RED], [RED])
    path = folder / "images" / "40.png"
    upright = cv2.imread(str(path))
    turned = cv2.rotate(upright, cv2.ROTATE_90_COUNTERCLOCKWISE)
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(turned[..., ::-1]).save(path, exif=exif)
    assert evaluate(predictor, folder).overall["bbox_AP"] == pytest.approx(1)


def test_nothing_is_printed(data, predictor, capsys):
    evaluate(predictor, data.add([RED], [RED]))
    assert capsys.readouterr() == ("", "")


def test_without_pycocotools_the_line_that_installs_it_is_named(data, predictor, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    with pytest.raises(EdgeVitError, match="pip install 'pycocotools>=2"):
        evaluate(predictor, data.add([RED], [RED]))
