"""Write what a search found into device profiles, one for each model."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgevit.core.machine.fingerprint import fingerprint
from edgevit.core.runtime.profile import (
    SCHEMA,
    FileStamp,
    Profile,
    QuickFingerprint,
    stamp,
    write_profile,
)
from edgevit.errors import EdgeVitError
from edgevit.tune.inputs import SourceModel
from edgevit.tune.measurement import Measurement
from edgevit.tune.report import FIGURES, TuneReport


def save_profiles(report: TuneReport, models: Sequence[SourceModel]) -> TuneReport:
    """Write a profile for each model of a search that made a choice, and note their paths.

    The chosen model's profile holds the choice. The others recommend it, and hold the best that was
    measured of their own: of what was accurate enough, or else of the file as it is with the spec's
    preprocessing, which changes no answer.

    Args:
        report: what `search` found.
        models: those that were given, as they were when the search began.

    Raises:
        EdgeVitError: if a model was changed during the search, or the cache cannot be written.
    """
    if report.choice is None:
        return report
    best = [(model.stamp, _best_of(report, model)) for model in models]
    written = [_write(report, stamp, row) for stamp, row in best if row is not None]
    return replace(report, profiles=written)


def _best_of(report: TuneReport, model: SourceModel) -> Measurement | None:
    own = [row for row in report.rows if row.candidate.file.model == model.path]
    if report.choice in own:
        return report.choice
    accurate = [row for row in own if row.accuracy is not None and row.problem is None]
    unchanged = [
        row
        for row in own
        if row.candidate.file.path == row.candidate.file.model
        and row.candidate.preprocess == model.spec.input.preprocess
    ]
    return next(iter(accurate or unchanged), None)


def _write(report: TuneReport, model: FileStamp, row: Measurement) -> str:
    assert report.choice is not None
    if not model.is_untouched(Path(model.path)):
        raise EdgeVitError(f"{model.path!r} was changed while it was tuned; tune it again")
    candidate = row.candidate
    chosen = str(report.choice.candidate.file.model)
    profile = Profile(
        schema=SCHEMA,
        model=model,
        file=model if candidate.file.path == candidate.file.model else stamp(candidate.file.path),
        precision=candidate.file.precision,
        backend=candidate.backend,
        device=candidate.device,
        threads=candidate.threads,
        preprocess=candidate.preprocess,
        options=candidate.options,
        says=f"{candidate} ({FIGURES[report.goal.objective](row)})",
        recommends=None if chosen == model.path else chosen,
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        surroundings=QuickFingerprint.now(),
        fingerprint=fingerprint().to_dict(),
        evidence=report.to_dict(),
    )
    try:
        return str(write_profile(profile))
    except OSError as exc:
        raise EdgeVitError(f"the device profile cannot be written: {exc}") from exc
