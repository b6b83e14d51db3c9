"""What a comparison answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevit.core.machine.fingerprint import Fingerprint
from edgevit.core.machine.state import Conditions
from edgevit.errors import InputError

STAGES = ("preprocess", "infer", "postprocess")


@dataclass(frozen=True, slots=True)
class Candidate:
    """What to measure: the arguments of a Predictor.

    Args:
        model: an ONNX file, a model zoo name, or None for the bundled classifier. Its precision is
            the file's.
        backend: a backend's name, or `auto`.
        device: a device of that backend, or `auto`.
        threads: threads of one run; None for the default.
        preprocess: `exact` or `fast`; None for the model's own mode.
    """

    model: str | None = None
    backend: str = "auto"
    device: str = "auto"
    threads: int | None = None
    preprocess: str | None = None


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Spread of a time over many runs, in milliseconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, times_ms: NDArray[np.float64]) -> Percentiles:
        """Take the percentiles of float64 (N,) times in milliseconds."""
        return cls(*(float(value) for value in np.percentile(times_ms, (50, 95, 99))))


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A model's arithmetic, and the rate that the same runtime reaches in a large matrix product.

    A multiply-add counts as two operations; both rates are of median times measured in turn. On
    accelerators the times include the way of inputs and outputs over the bus, as every run does.

    Args:
        gflop: 10^9 operations of the model's convolutions and matrix products for one image, as
            its file says; None where it does not say.
        gflop_per_s: the model's rate in the session's bare run; None where `gflop` is.
        matrix_gflop_per_s: rate of a 1024x1024x1024 float32 matrix product; None where the runtime
            refuses it.
        share: the model's rate over the matrix product's; None where one is.
    """

    gflop: float | None
    gflop_per_s: float | None
    matrix_gflop_per_s: float | None
    share: float | None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often a model is right.

    Args:
        metric: what is counted, such as `top1`, `AP` or `mIoU`.
        value: 0-1.
        source: who says so, e.g. `measured on 300 images of photos` or `stated by the model zoo`.
    """

    metric: str
    value: float
    source: str


@dataclass(frozen=True, slots=True)
class BenchmarkReport:
    """What `compare` measured of one candidate.

    Args:
        model: name in the spec.
        task: `classify`, `detect` or `segment`.
        path: the model file.
        file_mib: the file's size, in MiB.
        precision: what the file computes in, see `edgevit.core.model.precision`.
        backend: backend name.
        device: device name.
        threads: threads asked for; None for the backend's default.
        preprocess: `exact` or `fast`.
        image_size: (height, width) of the image in pixels.
        runs: number of pairs of runs.
        stages_ms: spread of `preprocess`, `infer`, `postprocess`, of `total` (a whole prediction)
            and of `runtime` (the session's bare run), in milliseconds.
        overhead_ms: median over the pairs of total minus runtime.
        arithmetic: the model's operations, and what share of the machine's matrix rate they reach.
        images_per_s: 1000 over the median total.
        mapped_images_per_s: what `Predictor.map` reaches, the median of several turns; None where
            the comparison was interrupted before.
        first_answer_ms: from starting a new Python process to its first answer, the median over
            several; None where there were none.
        rss_mib: resident memory of a new process with nothing but this model (Python, NumPy, OpenCV
            and the runtime are in it) after some predictions; None where it is not known.
        rss_peak_mib: the most that this process had, loading included; None as `rss_mib`.
        rss_growth_mib: how much it grew over these predictions; None as `rss_mib`.
        accuracy: None where it is not known.
    """

    model: str
    task: str
    path: str
    file_mib: float
    precision: str
    backend: str
    device: str
    threads: int | None
    preprocess: str
    image_size: tuple[int, int]
    runs: int
    stages_ms: Mapping[str, Percentiles]
    overhead_ms: float
    arithmetic: Arithmetic
    images_per_s: float
    mapped_images_per_s: float | None
    first_answer_ms: float | None
    rss_mib: float | None
    rss_peak_mib: float | None
    rss_growth_mib: float | None
    accuracy: Accuracy | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as plain values that `json.dumps` takes, by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare` measured, in one run.

    Args:
        reports: one for each candidate, in their order.
        fingerprint: the machine and the libraries.
        conditions: the machine's clock, temperature and load around the run, with warnings.
        is_interrupted: whether the run was ended before all was measured.
    """

    reports: tuple[BenchmarkReport, ...]
    fingerprint: Fingerprint
    conditions: Conditions
    is_interrupted: bool

    def fastest(self) -> BenchmarkReport:
        """Find the candidate with the least median time of a whole prediction."""
        return min(self.reports, key=lambda report: report.stages_ms["total"].p50)

    def with_accuracies(self, accuracies: Sequence[Accuracy | None]) -> Comparison:
        """Copy with what is known of each candidate's accuracy.

        Args:
            accuracies: one for each report.

        Raises:
            InputError: if they are more or fewer.
        """
        if len(accuracies) != len(self.reports):
            raise InputError(
                f"{len(self.reports)} reports take as many accuracies, not {len(accuracies)}"
            )
        pairs = zip(self.reports, accuracies, strict=True)
        return replace(self, reports=tuple(replace(r, accuracy=known) for r, known in pairs))

    def labels(self) -> list[str]:
        """Name each candidate by what tells it from the others."""
        rows = [_names(report) for report in self.reports]
        told = [len(set(column)) > 1 for column in zip(*rows, strict=True)]
        labels = [", ".join(compress(row, told)) or row[0] for row in rows]
        if len(set(labels)) == len(labels):
            return labels
        # Two files of one model in one precision, such as two quantisations.
        files = (Path(report.path).name for report in self.reports)
        return [f"{file}, {label}" for file, label in zip(files, labels, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Describe as JSON values; `models` has the reports."""
        return {
            "models": [report.to_dict() for report in self.reports],
            "fingerprint": self.fingerprint.to_dict(),
            "machine": asdict(self.conditions),
            "is_interrupted": self.is_interrupted,
        }


def threads_text(threads: int | None) -> str:
    """Say how many threads a candidate was given.

    Example:
        >>> threads_text(1), threads_text(None)
        ('1 thread', 'default threads')
    """
    if threads is None:
        return "default threads"
    return f"{threads} thread{'s' * (threads > 1)}"


def _names(report: BenchmarkReport) -> tuple[str, ...]:
    return (
        report.model,
        report.precision,
        report.backend,
        report.device,
        threads_text(report.threads),
        report.preprocess,
    )
