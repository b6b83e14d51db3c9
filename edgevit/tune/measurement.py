"""Measurements of a candidate, and what is read off them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgevit.tune.candidate import Candidate

RELIABLE = 40  # predictions from which on a 95th percentile tells more than the median


@dataclass(frozen=True, slots=True)
class Sample:
    """Some predictions in a row.

    Args:
        times_ms: how long each took, preprocessing to result.
        cpu_ms: processor time (user and system, all threads of the process) for each image.
        images_per_s: images over the time that all took.
        rss_mib: resident memory of the candidate's process; None where it is not known, or where
            others share the process.
    """

    times_ms: tuple[float, ...]
    cpu_ms: float
    images_per_s: float
    rss_mib: float | None = None


@dataclass(slots=True)
class Measurement:
    """Everything measured of a candidate so far.

    Args:
        candidate: which.
        samples: in the order of measuring.
        accuracy: its main figure on the data, 0-1; None where it was not evaluated.
        problem: why it is out: it cannot be run, or is not accurate enough; None otherwise.
        is_pareto: whether no other evaluated candidate is both as accurate and faster, or as fast
            and more accurate; found when the search has ended.
    """

    candidate: Candidate
    samples: list[Sample] = field(default_factory=list)
    accuracy: float | None = None
    problem: str | None = None
    is_pareto: bool = False

    @property
    def runs(self) -> int:
        """Number of predictions."""
        return sum(len(sample.times_ms) for sample in self.samples)

    @property
    def p50_ms(self) -> float:
        """Median time of a prediction, milliseconds."""
        return self._percentile(50)

    @property
    def p95_ms(self) -> float:
        """95th percentile of the time of a prediction, milliseconds."""
        return self._percentile(95)

    @property
    def images_per_s(self) -> float:
        """Median of the samples' rates."""
        return float(np.median([sample.images_per_s for sample in self.samples]))

    @property
    def cpu_ms(self) -> float:
        """Median over the samples of processor time for each image, milliseconds."""
        return float(np.median([sample.cpu_ms for sample in self.samples]))

    @property
    def rss_mib(self) -> float | None:
        """Resident memory of its own process, MiB; None where it had none or it is not known."""
        return max((s.rss_mib for s in self.samples if s.rss_mib is not None), default=None)

    @property
    def slow_ms(self) -> float:
        """What slow predictions take, by which candidates are compared: steadier than `p95_ms`.

        The mean of the times between the 85th and the 95th percentile: a machine that stumbles in
        4% of all predictions shows it in the 95th percentile of one candidate and not of the next.
        While there are too few predictions, their median.
        """
        if not self.is_reliable:
            return self.p50_ms
        times = np.sort(self._times())
        return float(times[int(0.85 * self.runs) : int(0.95 * self.runs) + 1].mean())

    @property
    def is_reliable(self) -> bool:
        """Whether there are enough predictions for a 95th percentile."""
        return self.runs >= RELIABLE

    def to_dict(self) -> dict[str, Any]:
        """Give the candidate and its figures as plain values that `json.dumps` takes, by name."""
        return {
            **self.candidate.to_dict(),
            "runs": self.runs,
            "p50_ms": self.p50_ms,
            "p95_ms": self.p95_ms,
            "images_per_s": self.images_per_s,
            "cpu_ms": self.cpu_ms,
            "rss_mib": self.rss_mib,
            "accuracy": self.accuracy,
            "is_pareto": self.is_pareto,
            "problem": self.problem,
        }

    def _percentile(self, share: int) -> float:
        return float(np.percentile(self._times(), share))

    def _times(self) -> list[float]:
        return [time for sample in self.samples for time in sample.times_ms]


# Objective -> what is to be small.
OBJECTIVES: Mapping[str, Callable[[Measurement], float]] = {
    "latency": lambda measured: measured.slow_ms,
    "throughput": lambda measured: 1 / measured.images_per_s,
    "energy-proxy": lambda measured: measured.cpu_ms,
}
