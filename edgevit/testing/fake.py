"""A backend without a runtime, for tests of what stands above one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgevit.backend import AnyArray, TensorInfo, check_options, threads_option, unknown_device
from edgevit.errors import InferenceError

Run = Callable[[Mapping[str, AnyArray]], Mapping[str, AnyArray]]


@dataclass(eq=False)
class FakeSession:
    """A session that answers with a function.

    Args:
        inputs: graph inputs.
        outputs: graph outputs.
        answer: called with the feeds of every run.
        latency_s: how long a run takes at least, in seconds.
    """

    inputs: Sequence[TensorInfo]
    outputs: Sequence[TensorInfo]
    answer: Run
    latency_s: float = 0
    runs: int = field(default=0, init=False)
    is_closed: bool = field(default=False, init=False)

    def run(self, feeds: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        """Count the run, wait, and answer."""
        if self.is_closed:
            raise InferenceError("the session is closed; load the model again")
        self.runs += 1
        time.sleep(self.latency_s)
        return self.answer(feeds)

    def close(self) -> None:
        """Refuse further runs."""
        self.is_closed = True


@dataclass(eq=False)
class FakeBackend:
    """A backend that loads any path and computes nothing but what it is told to.

    Args:
        inputs: graph inputs of every model.
        outputs: graph outputs of every model.
        run: makes the outputs of a run from its feeds, or raises; None answers with zeros, free
            axes as long as the first axis of the first feed.
        names: what `devices()` answers.
        latency_s: how long a run takes at least, in seconds.

    `sessions` holds every session that was loaded, `loads` the arguments.

    Example:
        >>> doubler = FakeBackend(
        ...     inputs=[TensorInfo("x", np.dtype("f4"), (None, 2))],
        ...     outputs=[TensorInfo("y", np.dtype("f4"), (None, 2))],
        ...     run=lambda feeds: {"y": feeds["x"] * 2},
        ... )
        >>> session = doubler.load(Path("any.onnx"), device="cpu", options={})
        >>> session.run({"x": np.array([[1, 2]], np.float32)})["y"]
        array([[2., 4.]], dtype=float32)
        >>> doubler.sessions[0].runs
        1
    """

    inputs: Sequence[TensorInfo]
    outputs: Sequence[TensorInfo]
    run: Run | None = None
    names: Sequence[str] = ("cpu",)
    latency_s: float = 0
    sessions: list[FakeSession] = field(default_factory=list, init=False)
    loads: list[tuple[Path, str, dict[str, object]]] = field(default_factory=list, init=False)

    def devices(self) -> list[str]:
        """List the names that the test gave."""
        return list(self.names)

    def load(self, model: Path, *, device: str, options: Mapping[str, object]) -> FakeSession:
        """Remember the arguments; the file need not exist."""
        check_options(options, ("threads",), "fake")
        threads_option(options, 1)
        if device not in self.names:
            raise unknown_device(device, "fake", self.names)
        session = FakeSession(self.inputs, self.outputs, self.run or self._zeros, self.latency_s)
        self.loads.append((model, device, dict(options)))
        self.sessions.append(session)
        return session

    def _zeros(self, feeds: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        first = next(iter(feeds.values()))
        batch = first.shape[0] if first.ndim else 1
        return {
            info.name: np.zeros([batch if n is None else n for n in info.shape], info.dtype)
            for info in self.outputs
        }
