"""Top-1 and top-5, from folders and from lists."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from paths import EXAMPLES

import edgevit
from edgevit.errors import InputError
from edgevit.evaluate import DataSet, evaluate

COLORS = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0)}
AIRLINER = EXAMPLES / "pictures" / "airliner.jpg"


def write_picture(path, color):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((10, 12, 3), COLORS[color], np.uint8))


@pytest.fixture
def predictor(tiny):
    with edgevit.Predictor(tiny) as loaded:
        yield loaded


@pytest.fixture
def folders(tmp_path):
    """Two red pictures and a green one, of which one red one is really green."""
    for name, color in (("red/1.png", "red"), ("red/2.png", "green"), ("green/1.PNG", "green")):
        write_picture(tmp_path / name, color)
    return tmp_path


@pytest.fixture
def listed(folders):
    """Writes a list of labels beside the folders."""

    def write(text, name="labels.csv"):
        (folders / name).write_text(text, encoding="utf-8")
        return folders

    return write


def test_folders_give_top_1_overall_and_for_each_class(predictor, folders):
    report = evaluate(predictor, folders)
    assert report.overall == {"top1": pytest.approx(2 / 3), "top5": 1}
    assert report.per_class == [
        {"class_id": 0, "class_name": "red", "images": 2, "top1": 0.5, "top5": 1.0},
        {"class_id": 1, "class_name": "green", "images": 1, "top1": 1.0, "top5": 1.0},
    ]


def test_the_report_names_the_model_the_data_and_the_times(predictor, folders):
    report = evaluate(predictor, str(folders)).to_dict()
    assert report["model"] == "tiny"
    assert report["path"] == str(predictor.path)
    assert report["backend"] == predictor.backend
    assert report["data"] == str(folders)
    assert (report["task"], report["preprocess"], report["images"]) == ("classify", "exact", 3)
    assert list(report["timings_ms"]) == ["preprocess", "infer", "postprocess"]
    assert min(report["timings_ms"].values()) > 0


def test_top_5_is_the_best_five(tmp_path):
    with edgevit.Predictor() as predictor:
        order = predictor.classify(AIRLINER, top_k=10).class_names
        lines = "".join(f"{AIRLINER},{order[rank]}\n" for rank in (0, 4, 5))
        (tmp_path / "labels.txt").write_text(lines)
        report = evaluate(predictor, tmp_path)
    assert report.overall == {"top1": pytest.approx(1 / 3), "top5": pytest.approx(2 / 3)}
    rows = {row["class_name"]: (row["top1"], row["top5"]) for row in report.per_class}
    assert rows == {order[0]: (1, 1), order[4]: (0, 1), order[5]: (0, 0)}


@pytest.mark.parametrize(
    "text",
    [
        "red/1.png,red\nred/2.png,red\ngreen/1.PNG,green\n",
        "file,label\nred/1.png,red\nred/2.png,red\ngreen/1.PNG,green\n",
        "red/1.png,0\nred/2.png,0\ngreen/1.PNG,1\n",
        "file,index,name\nred/1.png,0,a\n\nred/2.png,0,a\ngreen/1.PNG,1,b\n",
        '\ufeff"red/1.png", red\n"red/2.png", red\n"green/1.PNG", green\n',
    ],
    ids=["names", "heading", "ids", "more columns, empty line", "quotes, blanks, byte order mark"],
)
def test_a_list_gives_what_folders_give(predictor, listed, text):
    expected = evaluate(predictor, listed("not a list", "labels.txt")).per_class
    assert evaluate(predictor, listed(text)).per_class == expected


def test_files_of_a_list_are_found_in_a_folder_of_images(predictor, tmp_path):
    write_picture(tmp_path / "images" / "a.png", "blue")
    (tmp_path / "labels.csv").write_text("a.png,blue\n")
    assert evaluate(predictor, tmp_path).overall["top1"] == 1


def test_images_and_labels_may_be_anywhere(predictor, tmp_path):
    write_picture(tmp_path / "there" / "a.png", "blue")
    labels = tmp_path / "mine.csv"
    labels.write_text("a.png,blue\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    data = DataSet(empty, images=tmp_path / "there", labels=labels)
    assert evaluate(predictor, data).overall["top1"] == 1


def test_a_split_is_a_folder_of_its_own(predictor, tmp_path):
    write_picture(tmp_path / "train" / "red" / "1.png", "green")
    write_picture(tmp_path / "val" / "red" / "1.png", "red")
    report = evaluate(predictor, DataSet(tmp_path, split="val"))
    assert (report.images, report.overall["top1"], report.split) == (1, 1, "val")


def test_the_data_may_have_its_own_names_for_the_classes(predictor, tmp_path):
    write_picture(tmp_path / "n02" / "1.png", "green")
    data = DataSet(tmp_path, class_names=("n01", "n02", "n03"))
    report = evaluate(predictor, data)
    assert report.overall["top1"] == 1
    assert report.per_class[0]["class_name"] == "green"


def test_a_limit_is_spread_over_the_classes(predictor, folders):
    report = evaluate(predictor, DataSet(folders, limit=2))
    assert report.images == 2
    assert [row["images"] for row in report.per_class] == [1, 1]


def test_progress_is_told_after_each_picture(predictor, folders):
    told = []
    evaluate(predictor, folders, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("red/1.png,red\nred/2.png,rot\n", r"labels\.csv': 'rot' is not among the model's classes"),
        ("red/1.png,gren\n", "did you mean 'green'"),
        ("red/1.png,0\nred/2.png,3\n", "class ids go up to 3, but the model has 3"),
        ("red/1.png,red\nred/2.png\n", "have a line 'red/2.png', not two columns"),
        ("file,label\n", "are empty"),
        ("gone.png,red\n", "'gone.png' is not in"),
        ("labels.csv,red\n", "labels.csv"),
    ],
    ids=["name", "near name", "id", "no label", "no line", "no picture", "not a picture"],
)
def test_a_list_that_does_not_fit_is_refused(predictor, listed, text, message):
    with pytest.raises(InputError, match=message):
        evaluate(predictor, listed(text))


def test_a_list_that_is_not_text_is_refused(predictor, folders):
    (folders / "mine.csv").write_bytes(b"\xff\xfe,\x00")
    with pytest.raises(InputError, match="cannot be read"):
        evaluate(predictor, DataSet(folders, labels=folders / "mine.csv"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "test"}, r"no folder of the split: '.*test' not there"),
        ({"class_names": ("a", "b")}, "has 2 names, but 'tiny' has 3"),
        (
            {"annotations": Path("a.json")},
            "`annotations` does not apply to 'tiny', a classify model",
        ),
        ({"ignore_index": (255,)}, "`ignore_index` does not apply"),
        ({"first_class": 1}, "`first_class` does not apply"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_the_task_is_refused(predictor, folders, fields, message):
    with pytest.raises(InputError, match=message):
        evaluate(predictor, DataSet(folders, **fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"limit": 0}, "limit must be from 1 up"),
        ({"ignore_index": (-1,)}, "label values are from 0 to 65535"),
        ({"first_class": 65536}, "label values are from 0 to 65535"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_data_set_checks_its_fields(tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        DataSet(tmp_path, **fields)


def test_a_folder_that_is_not_there_is_refused(predictor, tmp_path):
    with pytest.raises(InputError, match="is not there"):
        evaluate(predictor, tmp_path / "nowhere")


def test_a_folder_without_pictures_says_what_it_should_hold(predictor, tmp_path):
    (tmp_path / "red").mkdir()
    with pytest.raises(InputError, match="folders named after their classes, or listed in"):
        evaluate(predictor, tmp_path)


def test_a_damaged_picture_ends_the_evaluation(predictor, folders):
    (folders / "green" / "0.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"green/0\.png"):
        evaluate(predictor, folders)


def test_a_name_that_two_classes_have_is_refused(tiny, folders):
    from dataclasses import replace

    spec = replace(edgevit.Predictor(tiny).spec, class_names=("red", "green", "red"))
    with (
        edgevit.Predictor(tiny, spec=spec) as predictor,
        pytest.raises(InputError, match="two classes 'red'"),
    ):
        evaluate(predictor, folders)
