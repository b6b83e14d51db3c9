"""Every task is tuned with what `edgevit.evaluate` measures of it."""

import shutil

import pytest
from tiny_data import MODELS, write_tiny_data

from edgevit.core.model.task import TASKS
from edgevit.errors import ExportError
from edgevit.evaluate import DataSet
from edgevit.tune import Choices, search

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("pycocotools", reason="pycocotools is not installed")

CHOICES = Choices(backends=["onnxruntime"], precisions=["fp32", "other"], threads=[1])


@pytest.fixture
def model(tiny, tmp_path):
    def copy(name):
        return shutil.copy(tiny.with_name(name), tmp_path / name)

    return copy


@pytest.mark.parametrize(
    ("task", "name"),
    [*MODELS.items(), ("detect", "tiny_boxes.onnx"), ("segment", "tiny_classes.onnx")],
)
def test_the_choice_is_as_accurate_as_the_reference(model, tmp_path, simulated, task, name):
    data = write_tiny_data(task, tmp_path / "data")
    report = search(model(name), data, choices=CHOICES, converters={})
    assert (report.task, report.figure) == (task, TASKS[task].metric)
    assert report.choice.accuracy == pytest.approx(report.reference_accuracy)
    assert report.reference_accuracy > 0
    assert len(report.profiles) == 1


@pytest.mark.parametrize("task", MODELS)
def test_a_faster_file_that_answers_wrongly_is_out(model, tmp_path, simulated, task):
    def swap_colors(source, output, images, say):
        content = source.read_bytes()
        assert content.count(b'"rgb"') == 1
        output.write_bytes(content.replace(b'"rgb"', b'"bgr"'))

    data = write_tiny_data(task, tmp_path / "data")
    report = search(model(MODELS[task]), data, choices=CHOICES, converters={"other": swap_colors})
    assert report.choice.candidate.file.precision == "fp32"
    wrong = [row for row in report.rows if row.candidate.file.precision == "other"]
    assert all("points of accuracy, more than 1" in row.problem for row in wrong)


def test_conversions_see_the_images_and_not_the_labels(model, tmp_path, simulated):
    seen = []

    def look(source, output, images, say):
        seen.extend(images)
        raise ExportError("that was enough")

    data = write_tiny_data("segment", tmp_path / "data")
    report = search(model(MODELS["segment"]), data, choices=CHOICES, converters={"other": look})
    assert report.notes == ["tiny_logits.onnx: other is left out: that was enough"]
    assert seen == DataSet(data).image_paths() == sorted((data / "images").iterdir())
