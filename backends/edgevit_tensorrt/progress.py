"""How far a build is, from versions of TensorRT that tell."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorrt as trt


class Progress(trt.IProgressMonitor):
    """Reports the steps of the outermost phase; called from any of TensorRT's threads."""

    def __init__(self, emit: Callable[[Mapping[str, Any]], None]) -> None:
        trt.IProgressMonitor.__init__(self)
        self._emit = emit
        self._steps: dict[str, int] = {}

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """Remember how many steps a phase has, if it is an outermost one."""
        if not parent_phase:
            self._steps[phase_name] = num_steps

    def step_complete(self, phase_name: str, step: int) -> bool:
        """Report a step; True lets the build go on."""
        if phase_name in self._steps:
            steps = self._steps[phase_name]
            self._emit({"event": "step", "phase": phase_name, "step": step + 1, "steps": steps})
        return True

    def phase_finish(self, phase_name: str) -> None:
        """Forget a phase; a later one may have its name."""
        self._steps.pop(phase_name, None)
