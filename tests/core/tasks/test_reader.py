"""A new task is one file, one row of the table, and what is here: one row of a test."""

import numpy as np
import pytest
from paths import DATA

import edgevit
from edgevit.core import tasks
from edgevit.core.model.heads import ClassHead
from edgevit.core.model.task import TASKS, Task
from edgevit.core.tasks.reader import TaskReader, task_reader
from edgevit.core.tasks.results import Classification
from edgevit.errors import ModelError, SpecError

# The file: the margin between the best class and the others, from a classifier's logits.
MARGIN = '''
import numpy as np

from edgevit.core.tasks.results import Classification
from edgevit.core.tasks.signature import floats


class Margin(Classification):
    """The best class, its lead over each other class as scores."""


RESULT = Margin


def graph_outputs(spec, head):
    return (floats(None, 1, len(spec.class_names)),)


def parameters(spec, head, *, at_least=0.0):
    return at_least


def graph_inputs(head, wanted=None):
    return {}


def read(outputs, geometry, *, spec, head, wanted):
    (logits,) = next(iter(outputs.values()))
    best = int(logits.argmax())
    lead = np.float32([logits[best] - np.delete(logits, best).max()])
    names = (spec.class_names[best],) if lead >= wanted else ()
    return Margin(np.array([best])[: len(names)], names, lead[: len(names)], {})
'''
# The row.
ROW = Task("margin", {"": ClassHead}, "top1", "leaders", "cas_vit_xs_cifar10")


@pytest.fixture
def spec(tmp_path, monkeypatch):
    (tmp_path / "margin.py").write_text(MARGIN)
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    monkeypatch.setitem(TASKS, "margin", ROW)
    classes = ("red", "green", "blue")
    return edgevit.ModelSpec(
        "leader", "tiny", "tiny", "margin", edgevit.InputSpec((8, 8)), classes, {}
    )


def picture(blue, green, red):
    return np.full((8, 8, 3), (blue, green, red), np.uint8)


@pytest.mark.parametrize("task", [*TASKS, "margin"])
def test_every_task_has_a_reader(task, spec):
    reader = task_reader(task)
    members = [name for name in vars(TaskReader) if not name.startswith("_")]
    assert all(callable(getattr(reader, name)) for name in members)


def test_a_new_task_answers_images_with_its_own_results(spec):
    with edgevit.Predictor(DATA / "tiny.onnx", spec=spec) as predictor:
        red = predictor(picture(0, 0, 255))
        assert type(red).__name__ == "Margin"
        assert red.class_names == ("red",)
        assert red.timings_ms.keys() == {"preprocess", "infer", "postprocess"}
        assert next(iter(predictor.map([picture(0, 255, 0)]))).class_names == ("green",)


def test_a_new_tasks_parameters_reach_its_reader(spec):
    with edgevit.Predictor(DATA / "tiny.onnx", spec=spec) as predictor:
        batch, geometry = predictor.preprocess(picture(0, 0, 255))
        outputs = predictor.infer(batch)
        assert len(predictor.postprocess(outputs, geometry, at_least=1e9)) == 0


def test_methods_of_other_tasks_name_the_model_s_own(spec):
    with (
        edgevit.Predictor(DATA / "tiny.onnx", spec=spec) as predictor,
        pytest.raises(ModelError, match="a model for margin, which gives no Classification"),
    ):
        predictor.classify(picture(0, 0, 255))


def test_a_task_without_a_row_is_refused_with_those_that_have_one():
    with pytest.raises(SpecError, match="task must be one of classify, detect, segment"):
        edgevit.ModelSpec("a", "b", "c", "pose", edgevit.InputSpec((8, 8)), ("x",), {})


def test_results_of_different_tasks_are_different_classes():
    kinds = [task_reader(task).RESULT for task in TASKS]
    assert len(set(kinds)) == len(kinds)
    assert Classification in kinds
