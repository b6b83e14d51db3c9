"""mIoU, against counts made by hand."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

import edgevit
from edgevit.core.tasks.palette import default_palette
from edgevit.core.tasks.results import Segmentation
from edgevit.errors import InputError
from edgevit.evaluate import DataSet, evaluate
from edgevit.evaluate.segment import confusion_matrix, figures_of_confusion

# 32 x 24 goes into 16 x 16 at half its size: the model answers each 8 x 8 pixels' own color.
BLOCKS = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 1, 1]])
COLORS = np.array([(0, 0, 255), (0, 255, 0), (255, 0, 0)], np.uint8)


def whole(blocks):
    return np.kron(blocks, np.ones((8, 8), int)).astype(np.uint8)


@pytest.fixture
def predictor(tiny):
    with edgevit.Predictor(tiny.with_name("tiny_classes.onnx")) as loaded:
        yield loaded


@pytest.fixture
def write(tmp_path):
    """Writes the picture of BLOCKS with given labels, as one more of a data set."""

    def write(labels, split="", folder="labels"):
        images, labels_folder = tmp_path / "images" / split, tmp_path / folder / split
        images.mkdir(parents=True, exist_ok=True)
        labels_folder.mkdir(parents=True, exist_ok=True)
        name = f"street {len(list(images.iterdir()))}.png"
        cv2.imwrite(str(images / name), COLORS[whole(BLOCKS)])
        cv2.imwrite(str(labels_folder / name), labels)
        return tmp_path

    return write


def test_right_answers_give_1(predictor, write):
    report = evaluate(predictor, write(whole(BLOCKS)))
    assert report.overall == {"mIoU": 1, "mean_accuracy": 1, "pixel_accuracy": 1}
    assert report.per_class[2] == {
        "class_id": 2,
        "class_name": "blue",
        "pixels": 128,
        "IoU": 1,
        "accuracy": 1,
    }
    assert (report.images, report.task, list(report.notes)) == (1, "segment", [])


def test_iou_is_taken_over_the_pixels_of_all_pictures(predictor, write):
    write(whole(BLOCKS))
    report = evaluate(predictor, write(whole([[0, 0, 0, 0], [0, 0, 1, 1], [1, 2, 1, 1]])))
    # Blocks right of both pictures, over blocks in labels or answers.
    expected = [(4 + 4) / (4 + 6), (6 + 4) / (6 + 7), (2 + 1) / (2 + 2)]
    assert [row["IoU"] for row in report.per_class] == pytest.approx(expected)
    assert report.overall["mIoU"] == pytest.approx(np.mean(expected))
    assert report.overall["pixel_accuracy"] == pytest.approx(21 / 24)
    assert report.overall["mean_accuracy"] == pytest.approx(np.mean([8 / 10, 10 / 11, 3 / 3]))
    assert [row["pixels"] for row in report.per_class] == [640, 704, 192]


def test_ignored_values_count_nowhere(predictor, write):
    labels = whole([[255, 0, 1, 1], [0, 0, 1, 1], [2, 2, 1, 255]])
    assert evaluate(predictor, write(labels)).overall["mIoU"] == 1
    data = DataSet(write(whole([[11, 0, 1, 1], [0, 0, 1, 1], [2, 2, 1, 1]])), ignore_index=(11,))
    with pytest.raises(InputError, match="have the value 255, which is none of the model's 3"):
        evaluate(predictor, data)
    assert evaluate(predictor, replace(data, ignore_index=(11, 255))).overall["mIoU"] == 1


def test_a_class_value_may_be_ignored(predictor, write):
    report = evaluate(predictor, DataSet(write(whole(BLOCKS)), ignore_index=(2,)))
    assert report.overall["mIoU"] == 1
    assert report.per_class[2]["IoU"] is None


def test_values_may_begin_at_another_than_0(predictor, write):
    labels = whole([[0, 1, 2, 2], [1, 1, 2, 2], [3, 3, 2, 2]])
    report = evaluate(predictor, DataSet(write(labels), first_class=1))
    assert report.overall["mIoU"] == 1
    assert report.per_class[0]["pixels"] == 3 * 64


def test_a_list_of_values_says_which_is_which_class(predictor, write):
    folder = write(whole([[9, 9, 0, 0], [9, 9, 0, 0], [1, 7, 0, 0]]))
    (folder / "labels.csv").write_text("value,name\n0,green\n1,blue\n7,unlabeled\n9,red\n")
    data = DataSet(folder, ignore_index=(7,))
    assert evaluate(predictor, data).overall["mIoU"] == 1
    with pytest.raises(InputError, match=r"'unlabeled' is not among .*; name the values"):
        evaluate(predictor, folder)


def test_first_class_takes_values_as_they_are(predictor, write):
    folder = write(whole(BLOCKS))
    (folder / "labels.csv").write_text("value,name\n0,blue\n1,green\n2,red\n")
    assert evaluate(predictor, folder).overall["mIoU"] < 1
    assert evaluate(predictor, DataSet(folder, first_class=0)).overall["mIoU"] == 1


def test_a_class_without_any_pixel_is_in_no_mean_and_named(predictor, write):
    labels = whole(np.minimum(BLOCKS, 1))
    labels[16:, :16] = 255
    report = evaluate(predictor, write(labels))
    assert report.overall["mIoU"] == 1
    assert report.per_class[2]["IoU"] is report.per_class[2]["accuracy"] is None
    assert list(report.notes) == ["no pixel is or was answered 'blue': not in mIoU"]


def test_a_class_that_is_only_answered_has_iou_0(predictor, write):
    report = evaluate(predictor, write(whole(np.minimum(BLOCKS, 1))))
    assert [row["IoU"] for row in report.per_class] == pytest.approx([4 / 4, 6 / 8, 0])
    assert report.overall["mean_accuracy"] == pytest.approx(np.mean([1, 6 / 8]))


def test_labels_count_at_their_own_resolution(predictor, write):
    labels = np.kron(BLOCKS, np.ones((24, 24), int)).astype(np.uint8)
    report = evaluate(predictor, write(labels))
    assert report.overall["mIoU"] == 1
    assert report.per_class[0]["pixels"] == 4 * 24 * 24


def test_pixels_that_the_network_did_not_see_are_wrong(tiny, write):
    path = tiny.with_name("tiny_classes.onnx")
    spec = edgevit.Predictor(path).spec
    cropping = replace(spec, input=replace(spec.input, resize="shorter"))
    with edgevit.Predictor(path, spec=cropping) as predictor:
        report = evaluate(predictor, write(whole(np.zeros((3, 4), int))))
    assert "the network did not see 25.00% of the pixels: counted as wrong" in report.notes
    seen = report.per_class[0]
    assert seen["IoU"] == seen["accuracy"] < 0.75


def test_splits_and_folders_of_other_names(predictor, write, tmp_path):
    write(whole(BLOCKS), "train")
    write(whole(2 - BLOCKS), "val")
    assert evaluate(predictor, tmp_path).images == 2
    report = evaluate(predictor, DataSet(tmp_path, split="train"))
    assert (report.images, report.overall["mIoU"]) == (1, 1)
    write(whole(BLOCKS), "test", folder="masks")
    data = DataSet(tmp_path, split="test", labels=tmp_path / "masks" / "test")
    assert evaluate(predictor, data).overall["mIoU"] == 1


def test_pictures_without_labels_are_left_out_and_told(predictor, write):
    folder = write(whole(BLOCKS))
    cv2.imwrite(str(folder / "images" / "spare.png"), COLORS[whole(BLOCKS)])
    report = evaluate(predictor, folder)
    assert (report.images, list(report.notes)) == (1, ["images without labels, left out: 1"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (whole(BLOCKS + 2), r"street 0\.png' have the value 3, which is none of the model's 3"),
        (whole(BLOCKS)[:, :16], r"are of size \(24, 16\), their image \(24, 32\)"),
        (COLORS[whole(BLOCKS)], "are an image in colors"),
    ],
    ids=["value", "shape", "colors"],
)
def test_labels_that_do_not_fit_are_refused(predictor, write, labels, message):
    with pytest.raises(InputError, match=message):
        evaluate(predictor, write(labels))


def test_labels_without_a_picture_are_refused(predictor, write):
    folder = write(whole(BLOCKS))
    cv2.imwrite(str(folder / "labels" / "alone.png"), whole(BLOCKS))
    with pytest.raises(InputError, match=r"labels/alone\.png' have no image '.*images/alone'"):
        evaluate(predictor, folder)


def test_folders_that_are_missing_or_empty_say_what_they_should_hold(predictor, tmp_path):
    with pytest.raises(InputError, match=r"no folder of images: '.*images' not there"):
        evaluate(predictor, tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match=r"no folder of label PNGs: '.*labels' not there"):
        evaluate(predictor, tmp_path)
    (tmp_path / "labels").mkdir()
    with pytest.raises(InputError, match="PNGs of class ids of the same names"):
        evaluate(predictor, tmp_path)


def test_a_confusion_matrix_counts_what_loops_count():
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 4, (20, 30)).astype(np.uint8)
    answers = generator.choice(np.array([0, 1, 2, 255], np.uint8), (20, 30))
    table = np.array([1, 0, 2, 3])  # label 3 counts nowhere
    expected = np.zeros((3, 4), int)
    for label, answer in zip(labels.reshape(-1), answers.reshape(-1), strict=True):
        if label < 3:
            expected[(1, 0, 2)[label], min(answer, 3)] += 1
    result = Segmentation(answers, ("a", "b", "c"), default_palette(3), {})
    assert np.array_equal(confusion_matrix(labels, result, table, "here"), expected)


def test_no_labeled_pixel_at_all_gives_no_figures():
    figures = figures_of_confusion(np.zeros((2, 3), np.int64), ("a", "b"))
    assert set(figures.overall.values()) == {None}
