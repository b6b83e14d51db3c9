"""`edgevit eval`."""

import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edgevit.cli import main
from edgevit.predictor import Predictor

COLORS = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0)}


def run(*arguments):
    return CliRunner().invoke(main, ["eval", *(str(argument) for argument in arguments)])


@pytest.fixture
def folders(tmp_path):
    for name, color in (("red/1", "red"), ("red/2", "green"), ("green/1", "green")):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.full((10, 12, 3), COLORS[color], np.uint8))
    return tmp_path


@pytest.fixture
def street(tmp_path):
    """A red picture, labeled red with a green edge and unlabeled corners of value 9."""
    labels = np.zeros((16, 16), np.uint8)
    labels[:4], labels[-2:, -2:] = 1, 9
    for name, pixels in (
        ("images", np.full((16, 16, 3), COLORS["red"], np.uint8)),
        ("labels", labels),
    ):
        (tmp_path / name / "val").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / name / "val" / "a.png"), pixels)
    return tmp_path


def test_eval_prints_a_row_for_each_class_and_the_figures(tiny, folders):
    result = run(tiny, "--data", folders)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("tiny on ")
    assert f"3 images of {folders}" in lines[0]
    assert [part.strip() for part in lines[4].split("│")[1:-1]] == ["red", "2", "50.00%", "100.00%"]
    assert "top1                  66.67%" in lines
    assert lines[-1].startswith("medians in ms: preprocess ")


def test_eval_prints_one_json_document(tiny, folders):
    result = run(tiny, "--data", folders, "--json", "--limit", 2)
    document = json.loads(result.stdout)
    assert result.stderr == ""
    assert document["images"] == 2
    assert set(document["overall"]) == {"top1", "top5"}
    assert [row["class_name"] for row in document["per_class"]] == ["red", "green"]
    assert list(document["timings_ms"]) == ["preprocess", "infer", "postprocess"]
    assert {"model", "backend", "device", "task", "notes"} <= set(document)


def test_eval_takes_the_places_and_values_of_labels(tiny, street):
    model = tiny.with_name("tiny_classes.onnx")
    result = run(model, "--data", street, "--split", "val", "--ignore-index", 9, "--json")
    assert json.loads(result.stdout)["overall"]["pixel_accuracy"] == pytest.approx(188 / 252)
    places = ("--images", street / "images" / "val", "--labels", street / "labels" / "val")
    result = run(model, "--data", street, *places, "--ignore-index", 9, "--first-class", 0)
    assert result.exit_code == 0
    assert "no pixel is or was answered 'blue': not in mIoU" in result.stdout


def test_eval_reads_the_datas_names_from_a_file(tiny, folders):
    names = folders / "names.txt"
    (folders / "red").rename(folders / "n1 [x]")
    names.write_text("n1 [x]\ngreen\nother\n")
    result = run(tiny, "--data", folders, "--class-names", names)
    assert result.exit_code == 0
    result = run(tiny, "--data", folders, "--class-names", folders / "nowhere.txt")
    assert (result.exit_code, "class names cannot be read" in result.stderr) == (1, True)


def test_eval_says_in_one_sentence_what_does_not_fit(tiny, folders):
    result = run(tiny.with_name("tiny_anchors.onnx"), "--data", folders)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "a detector is measured on a COCO JSON" in result.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("--data", ".", "--limit", 0), ("--data", ".", "--ignore-index", -1)], ids=str
)
def test_wrong_usage_exits_2(tiny, arguments):
    assert run(tiny, *arguments).exit_code == 2


def test_an_interrupt_ends_it_cleanly(tiny, folders, monkeypatch):
    answered = []
    classify = Predictor.classify

    def interrupted(self, image, top_k):
        if answered:
            raise KeyboardInterrupt
        answered.append(image)
        return classify(self, image, top_k)

    monkeypatch.setattr(Predictor, "classify", interrupted)
    result = run(tiny, "--data", folders, "--json")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "\nAborted!\n")
    assert len(answered) == 1
