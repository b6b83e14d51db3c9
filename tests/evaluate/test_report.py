"""What every task's evaluation answers."""

import pytest
from tiny_data import MODELS, write_tiny_data

import edgevit
from edgevit.core.model.task import TASKS
from edgevit.evaluate import evaluate

pytest.importorskip("pycocotools", reason="pycocotools is not installed")


@pytest.mark.parametrize("task", TASKS)
def test_every_task_measures_its_main_figure(tiny, tmp_path, task):
    data = write_tiny_data(task, tmp_path)
    with edgevit.Predictor(tiny.with_name(MODELS[task])) as predictor:
        report = evaluate(predictor, data)
    metric, value = report.main
    assert metric == TASKS[task].metric
    assert value == report.overall[metric] == pytest.approx(1)
