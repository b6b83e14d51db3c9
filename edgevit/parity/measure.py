"""Every side answers the same images, and each is compared with the first."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from edgevit.core.machine.fingerprint import fingerprint
from edgevit.evaluate import DataSet
from edgevit.parity.bisect import first_divergence
from edgevit.parity.limits import DEFAULTS
from edgevit.parity.pair import Pair, Progress
from edgevit.parity.report import PairReport, ParityReport
from edgevit.parity.sides import Model, answer, describe_side, open_sides
from edgevit.predictor import Predictor

IMAGES = 100


def compare(
    models: Model | Sequence[Model] | None,
    data: DataSet | str | os.PathLike[str],
    *,
    backends: Sequence[str] | None = None,
    threads: int | None = None,
    preprocess: str | None = None,
    split: str | None = None,
    limit: int | None = IMAGES,
    tolerance: float | None = None,
    min_agreement: float | None = None,
    min_iou: float | None = None,
    bisect: bool = True,
    progress: Progress = lambda what, done, total: None,
) -> ParityReport:
    """Answer the same images with every model on every backend, and compare with the first.

    Args:
        models: an ONNX file or a zoo name, or several, which must have the same task, classes,
            preprocessing, head and outputs; None for the bundled classifier.
        data: a folder of images, or of any layout that `edgevit eval` reads; or a data set.
        backends: entries `backend` or `backend:device`, the reference's first. None: of one model
            all backends that can be used, of several the first of them.
        threads: threads of one run; None for each backend's default.
        preprocess: `exact`, `fast`, or None for the mode of the first model's spec.
        split: the part of a folder, such as `val`; a DataSet names its own.
        limit: how many images of a folder to take, evenly spaced, None for all; a DataSet has its
            own.
        tolerance: see `Limits`; None for the default of the coarser precision of two sides.
        min_agreement: see `Limits`; None for the same default.
        min_iou: see `Limits`; None for the same default.
        bisect: whether to look for the first node that diverges where a side is not within limits.
        progress: called with what is done (`images` or `bisecting`), how much, and of how much.

    Returns:
        The report; `is_parity` says whether all sides are within their limits.

    Raises:
        InputError: if these are not two sides that can be compared, there are no images, or one
            cannot be read.
        ModelError: if a file cannot be used.
        BackendError: if a backend or device cannot be used, refuses a file, or fails while running.
    """
    files = [models] if models is None or isinstance(models, (str, os.PathLike)) else list(models)
    data = DataSet.of(data, split=split, limit=limit)
    images = data.limited(data.image_paths())
    given = {"tolerance": tolerance, "min_agreement": min_agreement, "min_iou": min_iou}
    chosen = {name: value for name, value in given.items() if value is not None}
    limits = {name: replace(default, **chosen) for name, default in DEFAULTS.items()}
    with ExitStack() as stack:
        sides = open_sides(stack, files, backends, threads=threads, preprocess=preprocess)
        described = [describe_side(side) for side in sides]
        pairs = [Pair(described[0], side, sides[0].spec, limits) for side in described[1:]]
        _answer_all(images, sides, pairs, progress)
        reports = [pair.report() for pair in pairs]
        task, mode = sides[0].spec.task, sides[0].preprocess_mode
        if bisect:
            reports = [
                _bisected(pair, report, sides[0], threads=threads, progress=progress)
                for pair, report in zip(pairs, reports, strict=True)
            ]
    folder, count = str(data.folder), len(images)
    return ParityReport(task, folder, count, mode, described[0], reports, fingerprint())


def _answer_all(
    images: Sequence[Path], sides: Sequence[Predictor], pairs: Sequence[Pair], progress: Progress
) -> None:
    for done, image in enumerate(images, 1):
        batch, geometry = sides[0].preprocess(image)
        reference, *others = (answer(side, batch, geometry) for side in sides)
        for pair, other in zip(pairs, others, strict=True):
            pair.add(image, reference, other)
        progress("images", done, len(images))


def _bisected(
    pair: Pair,
    report: PairReport,
    reference: Predictor,
    *,
    threads: int | None,
    progress: Progress,
) -> PairReport:
    if report.is_parity:
        return report
    batch, geometry = reference.preprocess(report.worst_picture)
    feeds = reference.feeds(batch, image_size=geometry.filled_size)
    found = first_divergence(
        pair.reference,
        pair.side,
        feeds,
        limits=report.limits,
        threads=threads,
        progress=progress,
    )
    if isinstance(found, str):
        return replace(report, notes=[found])
    return replace(report, divergence=found)
