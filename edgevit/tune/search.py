"""Search the best way to run a model on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edgevit.core.cpu import usable_cores
from edgevit.core.errors import BackendError, InputError, SpecError
from edgevit.core.image import load_image
from edgevit.core.onnx_file import read_metadata
from edgevit.core.profile import Mark, mark
from edgevit.core.registry import backend_names, get_backend
from edgevit.core.spec import METADATA_KEY, PREPROCESS_MODES, ModelSpec
from edgevit.evaluate import DataSet
from edgevit.evaluate.data import pictures_in
from edgevit.tune.accuracy import MAIN_FIGURE, Gate, evaluator_for
from edgevit.tune.candidate import Candidate, ModelFile, Space, thread_counts
from edgevit.tune.convert import CONVERTERS, Converter, model_files
from edgevit.tune.halving import OutOfTime, halve
from edgevit.tune.keep import keep_profiles
from edgevit.tune.measure import Pictures, ProcessMeasurer
from edgevit.tune.report import Goal, Row, TuneReport, rows_from
from edgevit.tune.sample import RELIABLE, Record
from edgevit.zoo import find_model

Progress = Callable[[str, int, int], object]
Model = str | os.PathLike[str] | None

MEASURED_PICTURES = 8
CONVERTED_PICTURES = 128  # that converters calibrate and check with


@dataclass(frozen=True, slots=True)
class Choices:
    """What the search may vary; None leaves a thing to what this machine has.

    Args:
        backends: names of backends.
        device: a device that each backend must have; None for all devices of each.
        precisions: `fp32`, `fp16`, `int8`.
        threads: thread counts of one run on a processor; None for the powers of two up to the
            usable cores, and these.
        preprocess: `exact`, `fast`.
        streams: runs at a time, where a backend can and throughput is the objective; None for the
            same counts as threads.
        spinning: names of `edgevit.tune.candidate.SPINNING`.
    """

    backends: Sequence[str] | None = None
    device: str | None = None
    precisions: Sequence[str] | None = None
    threads: Sequence[int] | None = None
    preprocess: Sequence[str] | None = None
    streams: Sequence[int] | None = None
    spinning: Sequence[str] | None = None


def search(
    models: Model | Sequence[Model],
    data: DataSet | str | os.PathLike[str],
    *,
    goal: Goal | None = None,
    choices: Choices | None = None,
    image_size: tuple[int, int] | None = None,
    keep: bool = True,
    converters: Mapping[str, Converter] = CONVERTERS,
    progress: Progress = lambda what, done, total: None,
) -> TuneReport:
    """Find the best way to run one of some models here, by measuring, and keep it.

    Candidates run in processes of their own, in turn (`edgevit.tune.halving`); accuracy is
    evaluated, in this process, of those that are fast enough to be chosen
    (`edgevit.tune.accuracy`). A sized variant is one more model: an exported file's input size
    cannot be changed on a device.

    Args:
        models: ONNX files or zoo names, variants of one task with the same classes; the first one
            is the reference. None for the bundled classifier.
        data: a data set as `edgevit.evaluate` takes it, or its folder.
        goal: objective, limits and time; None for the lowest latency within one point.
        choices: what to vary; None for everything.
        image_size: (height, width) in pixels that the pictures are stretched to for the times, such
            as a camera's frames; None for their own.
        keep: whether to write device profiles, which `Predictor` obeys.
        converters: what makes a precision of a float32 file.
        progress: called with what is done, how far it is, and of how much. An error that it raises
            ends the search, and so does KeyboardInterrupt; nothing is kept then.

    Returns:
        The choice and everything that was measured.

    Raises:
        ModelNotFoundError: if a model is not there.
        InputError: if the models do not belong together, the data does not fit, or nothing can run.
        BackendError: if no backend can be used.
    """
    started = perf_counter()
    goal, choices = goal or Goal(), choices or Choices()
    paths = _paths(models)
    specs = _specs(paths)
    data = data if isinstance(data, DataSet) else DataSet(Path(data))
    marks = [mark(path) for path in paths]
    devices = _devices(choices)
    pictures = Pictures(_spread(_pictures(data), MEASURED_PICTURES), image_size)
    files, notes = _files(paths, choices, data, converters, progress)
    space = _space(files, devices, choices, goal)
    clock = _Clock(started + goal.budget_s, progress)
    gate = Gate(evaluator_for(data), _reference(paths[0], devices), goal.max_drop, clock.progress)
    mapped = goal.objective == "throughput"
    with ProcessMeasurer(pictures, mapped=mapped) as measurer:
        records = halve(
            space.candidates(),
            measurer,
            goal.score,
            gate,
            check_time=clock.check,
            progress=progress,
        )
    for record in records:
        gate.note(record)
    return _report(started, goal, specs, data, pictures, records, notes, gate, marks, clock, keep)
