"""What a run does at each point of its progress, from 0 to 1 by steps or by the clock."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.optim import Optimizer

WARM_UP = 0.03  # first share of a run, the rate rising
DECAY = 0.55  # last share of a run, the rate falling in a line to zero
ERASE_UNTIL = 0.85  # the rest of a run sees whole pictures


@dataclass(frozen=True, repr=False)
class Phase:
    """A part of the run at one picture size.

    Args:
        until: progress at which it ends; the last phase goes to the end in any case.
        size: height and width of the network's input.
    """

    until: float
    size: int

    @classmethod
    def parse(cls, text: str) -> Phase:
        """Read `UNTIL:SIZE`, such as `0.62:48`."""
        until, _, size = text.partition(":")
        try:
            return cls(float(until), int(size))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not UNTIL:SIZE, as 0.62:48 is") from None

    def __repr__(self) -> str:
        return f"{self.until:g}:{self.size}"


DEFAULT_PHASES = (Phase(0.35, 48), Phase(1.0, 64))


def size_at(phases: Sequence[Phase], progress: float) -> int:
    """Picture size at a point of the run."""
    return next((phase.size for phase in phases if progress < phase.until), phases[-1].size)


def rate_factor(progress: float) -> float:
    """Share of the peak rate at a point of the run: up, level, and down to zero at the end."""
    return min(progress / WARM_UP + 0.01, 1.0, max(0.0, (1 - progress) / DECAY))


def set_rates(optimizers: Iterable[Optimizer], progress: float) -> None:
    """Give every optimizer the rate of a point of the run; `peak_lr` of each group is its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * rate_factor(progress)


class Pace:
    """How far a run is, and what each step adds: its share of the steps, or of the minutes.

    Args:
        steps: steps of a whole run.
        minutes: wall-clock time of a whole run, evaluation included; given, it replaces `steps`.
    """

    def __init__(self, steps: int, minutes: float | None) -> None:
        self.steps = steps
        self.minutes = minutes
        self.progress = 0.0
        self.seconds = 0.0
        self._last_tick = time.perf_counter()

    @property
    def is_done(self) -> bool:
        """Whether the run has reached its end; a sum of shares misses 1 by a rounding error."""
        return self.progress > 1 - 1e-6

    def tick(self) -> float:
        """Count the time since the last tick, and give the share of the run that passed."""
        now = time.perf_counter()
        passed, self._last_tick = now - self._last_tick, now
        self.seconds += passed
        return 1 / self.steps if self.minutes is None else passed / (60 * self.minutes)
