"""Measure a model's accuracy on a data set, with the Predictor that users call.

What the folder of a data set must hold, by the model's task. `split` is for data sets with parts.

- classify: images in folders named after their classes, `[split/]<class>/*.jpg`; or a list
  `[split/]labels.csv` (or `.txt`) with lines `file,label`, whose files are beside it or in
  `images/`. A label is the name of a class, or its id.
- detect: a COCO JSON file, `annotations/instances_<split>.json` or the only one there is, and the
  images in `images/[split/]`, `<split>/` or beside it. Categories go by their names.
- segment: images `images/[split/]<id>.jpg` and PNGs of class ids `labels/[split/]<id>.png`, gray
  or with a palette. A file `labels.csv` with lines `value,name` says which value is which class;
  without one the values are the model's class ids, from `first_class` on.

Other places are named in `DataSet`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from edgevit.core.tasks.reader import result_type
from edgevit.core.tasks.results import Classification, Detections, Result, Segmentation
from edgevit.errors import InputError
from edgevit.evaluate.classify import classification_figures
from edgevit.evaluate.data import DataSet
from edgevit.evaluate.detect import detection_figures
from edgevit.evaluate.report import EvaluationReport, Figures, Progress, TimedLoop
from edgevit.evaluate.segment import segmentation_figures
from edgevit.predictor import Predictor

__all__ = ["DataSet", "EvaluationReport", "evaluate"]


@dataclass(frozen=True, slots=True)
class Measure:
    """How a task is measured, and which of a DataSet's fields are for other tasks."""

    figures: Callable[[Predictor, DataSet, TimedLoop], Figures]
    foreign: tuple[str, ...]


MEASURES: dict[type[Result], Measure] = {
    Classification: Measure(classification_figures, ("annotations", "ignore_index", "first_class")),
    Detections: Measure(detection_figures, ("labels", "ignore_index", "first_class")),
    Segmentation: Measure(segmentation_figures, ("annotations", "class_names")),
}


def evaluate(
    predictor: Predictor,
    data: DataSet | str | os.PathLike[str],
    *,
    progress: Progress = lambda done, total: None,
) -> EvaluationReport:
    """Answer every image of a data set and compare with the truth.

    An image or label that cannot be read ends the evaluation: figures over fewer images than
    others had could not be compared with theirs.

    Args:
        predictor: of any task; which figures there are is the task's.
        data: the data set, or its folder where nothing else needs to be said.
        progress: called after each image with how many are done, and of how many.

    Returns:
        top-1 and top-5, COCO's AP and AR (of boxes, and of masks where both model and data have
        them), or mIoU and accuracies, as shares from 0 to 1; the same for each class; timings.

    Raises:
        InputError: if the data does not fit the model, or a file cannot be read.
        EdgeVitError: if AP is to be measured without the extra `eval`.
    """
    data = DataSet.of(data)
    task = predictor.spec.task
    measure = MEASURES[result_type(task)]
    for name in measure.foreign:
        if getattr(data, name) is not None:
            raise InputError(f"`{name}` does not apply to {predictor.spec.name!r}, a {task} model")
    loop = TimedLoop(progress)
    figures = measure.figures(predictor, data, loop)
    return EvaluationReport(
        model=predictor.spec.name,
        path=str(predictor.path),
        backend=predictor.backend,
        device=predictor.device,
        preprocess=predictor.preprocess_mode,
        task=task,
        data=str(data.folder),
        split=data.split,
        images=len(loop.timings),
        overall=figures.overall,
        per_class=figures.per_class,
        notes=figures.notes,
        timings_ms=loop.medians_ms(),
    )
