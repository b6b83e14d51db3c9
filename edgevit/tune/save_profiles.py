"""Write what a search found into device profiles, one for each model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgevit.core.machine.fingerprint import fingerprint
from edgevit.core.model.spec import ModelSpec
from edgevit.core.runtime.profile import SCHEMA, Mark, Profile, Surroundings, mark, write_profile
from edgevit.errors import EdgeVitError
from edgevit.tune.report import FIGURES, Row, TuneReport


def keep_profiles(
    report: TuneReport, marks: Sequence[Mark], specs: Sequence[ModelSpec]
) -> TuneReport:
    """Write a profile for each model of a search that made a choice.

    The chosen model's profile holds the choice. The others recommend it, and hold the best that was
    measured of their own: of what was accurate enough, or else of the file as it is with the spec's
    preprocessing, which changes no answer.

    Args:
        report: what `search` found.
        marks: the models as they were when the search began.
        specs: the spec of each model in `marks`.

    Returns:
        The report with the profiles' paths.

    Raises:
        EdgeVitError: if a model was changed during the search, or the cache cannot be written.
    """
    if report.choice is None:
        return report
    written = []
    for model, spec in zip(marks, specs, strict=True):
        row = _best_of(report, model, spec)
        if row is not None:
            written.append(_write(report, model, row))
    return replace(report, profiles=written)


def _best_of(report: TuneReport, model: Mark, spec: ModelSpec) -> Row | None:
    own = [row for row in report.rows if str(row.candidate.file.model) == model.path]
    if report.choice in own:
        return report.choice
    accurate = [row for row in own if row.accuracy is not None and row.problem is None]
    unchanged = [
        row
        for row in own
        if row.candidate.file.path == row.candidate.file.model
        and row.candidate.preprocess == spec.input.preprocess
    ]
    return next(iter(accurate or unchanged), None)


def _write(report: TuneReport, model: Mark, row: Row) -> str:
    assert report.choice is not None
    if not model.is_untouched(Path(model.path)):
        raise EdgeVitError(f"{model.path!r} was changed while it was tuned; tune it again")
    candidate = row.candidate
    chosen = str(report.choice.candidate.file.model)
    profile = Profile(
        schema=SCHEMA,
        model=model,
        file=model if candidate.file.path == candidate.file.model else mark(candidate.file.path),
        precision=candidate.file.precision,
        backend=candidate.backend,
        device=candidate.device,
        threads=candidate.threads,
        preprocess=candidate.preprocess,
        options=candidate.options,
        says=f"{candidate} ({FIGURES[report.goal.objective](row)})",
        recommends=None if chosen == model.path else chosen,
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        surroundings=Surroundings.now(),
        fingerprint=fingerprint().to_dict(),
        evidence=report.to_dict(),
    )
    try:
        return str(write_profile(profile))
    except OSError as exc:
        raise EdgeVitError(f"the device profile cannot be written: {exc}") from exc
