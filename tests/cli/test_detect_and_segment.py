"""`edgevit detect` and `edgevit segment`."""

import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from paths import EXAMPLES

from edgevit.cli import main

PICTURES = EXAMPLES / "pictures"
SCENE = np.zeros((48, 64, 3), np.uint8)
SCENE[0:16, 16:32] = (0, 0, 255)
SCENE[32:48, 48:64] = (255, 0, 0)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "scene.png"
    path.write_bytes(cv2.imencode(".png", SCENE)[1].tobytes())
    return path


@pytest.fixture
def model(tiny):
    return lambda name: tiny.with_name(f"{name}.onnx")


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_detect_prints_a_line_for_each_object(model, picture):
    result = run("detect", picture, "--model", model("tiny_boxes"))
    assert result.exit_code == 0
    head, line = result.output.splitlines()
    assert head.startswith(str(picture))
    assert line.split() == ["97.5%", "red", "16.0", "0.0", "32.0", "16.0"]


def test_detect_prints_one_json_document_for_each_picture(model, picture):
    result = run("detect", picture, picture, "--model", model("tiny_anchors"), "--json")
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(documents) == 2
    assert list(documents[0]) == ["image", "model", "backend", "task", "result", "timings_ms"]
    assert documents[0]["task"] == "detect"
    assert list(documents[0]["result"]) == ["boxes", "scores", "class_ids", "class_names"]
    assert sorted(documents[0]["result"]["class_names"]) == ["blue", "red"]


def test_detect_answers_masks_where_they_are_asked_for(model, picture):
    result = run("detect", picture, "--model", model("tiny_boxes"), "--masks", "--json")
    (mask,) = json.loads(result.stdout)["result"]["masks"]
    assert mask["size"] == [48, 64]
    assert isinstance(mask["counts"], str)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--class", "blue"], 1),
        (["--class", "blue", "--class", "red"], 2),
        (["--class", "green"], 0),
        (["--score-threshold", "1"], 0),
        (["--max-detections", "1"], 1),
    ],
    ids=str,
)
def test_detect_selects_as_its_options_say(model, picture, options, count):
    result = run("detect", picture, "--model", model("tiny_anchors"), "--json", *options)
    assert len(json.loads(result.stdout)["result"]["boxes"]) == count


def test_detect_writes_the_picture_with_its_objects(model, picture, tmp_path):
    output = tmp_path / "drawn.png"
    result = run("detect", picture, "--model", model("tiny_anchors"), "--output", output)
    assert result.exit_code == 0
    drawn = cv2.imread(str(output))
    assert drawn.shape == SCENE.shape
    assert not np.array_equal(drawn, SCENE)


def test_detect_goes_on_after_a_bad_picture_and_exits_1(model, picture):
    result = run("detect", "nowhere.png", picture, "--model", model("tiny_anchors"), "--json")
    assert result.exit_code == 1
    assert "nowhere.png" in result.stderr
    assert json.loads(result.stdout)["image"] == str(picture)


def test_segment_prints_the_share_of_each_class(model, picture):
    result = run("segment", picture, "--model", model("tiny_classes"))
    assert result.exit_code == 0
    names = {line.split()[1] for line in result.output.splitlines()[1:]}
    assert {"red", "blue"} <= names


def test_segment_prints_json_and_writes_the_class_map(model, picture, tmp_path):
    output = tmp_path / "map.png"
    result = run("segment", picture, "--model", model("tiny_classes"), "--json", "--output", output)
    document = json.loads(result.stdout)
    class_map = cv2.imread(str(output), cv2.IMREAD_UNCHANGED)
    assert class_map.shape == SCENE.shape[:2]
    counts = np.bincount(class_map.reshape(-1), minlength=3).tolist()
    assert document["result"] == {
        "class_names": ["red", "green", "blue"],
        "pixels_per_class": counts,
    }


def test_segment_writes_the_maps_of_several_pictures_into_a_folder(model, picture, tmp_path):
    folder = tmp_path / "maps"
    other = picture.with_name("other.png")
    other.write_bytes(picture.read_bytes())
    run("segment", picture, other, "--model", model("tiny_logits"), "--output", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["other.png", "scene.png"]


def test_segment_writes_an_overlay_beside_the_class_map(model, picture, tmp_path):
    output, overlay = tmp_path / "map.png", tmp_path / "overlay.jpg"
    run(
        *("segment", picture, "--model", model("tiny_classes")),
        *("--output", output, "--overlay", overlay),
    )
    assert cv2.imread(str(output), cv2.IMREAD_UNCHANGED).max() == 2
    shown = cv2.imread(str(overlay))
    assert shown.shape == SCENE.shape
    assert not np.array_equal(shown, SCENE)


def test_segment_refuses_to_write_class_ids_into_a_lossy_picture(model, picture):
    result = run("segment", picture, "--model", model("tiny_logits"), "--output", "map.jpg")
    assert result.exit_code == 2
    assert "a class map is a .png" in result.stderr


def test_detect_finds_the_cards_of_the_rendered_picture_with_the_bundled_model():
    result = run("detect", PICTURES / "cards.jpg", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)["result"]
    assert {"nine", "ten", "ace"} <= set(found["class_names"])


def test_segment_says_the_terms_of_the_bundled_model_first():
    result = run("segment", PICTURES / "street.jpg", "--json")
    assert result.exit_code == 0
    assert result.stderr.startswith("cas_vit_xs_semantic_fpn_camvid: trained on CamVid")
    assert "do not use these weights commercially" in result.stderr
    document = json.loads(result.stdout)
    pixels = dict(
        zip(*(document["result"][key] for key in ("class_names", "pixels_per_class")), strict=True)
    )
    assert pixels["road"] > 0.15 * sum(pixels.values())


def test_a_classifier_does_not_detect(tiny, picture):
    result = run("detect", picture, "--model", tiny)
    assert result.exit_code == 1
    assert "is a model for classify, not for detect" in result.stderr
