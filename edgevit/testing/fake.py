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
        """Let later runs raise InferenceError."""
        self.is_closed = True


@dataclass(eq=False)
class FakeAsyncSession(FakeSession):
    """A FakeSession with a queue, as of a device that computes one run after the other.

    Feeds are read when a run's outputs are taken, and outputs are overwritten as soon as they are
    given up, so that code which keeps either wrongly is seen.

    Args:
        max_in_flight: see `edgevit.backend.AsyncSession`.

    `most_in_flight` is how many runs have been waiting for `result` at once.
    """

    max_in_flight: int = 2
    most_in_flight: int = field(default=0, init=False)
    _places: list[_FakeRun | None] = field(default_factory=list, init=False)
    _free_at_s: float = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._places = [None] * self.max_in_flight

    def run(self, feeds: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        """Submit one run and wait for its result, at least `latency_s`."""
        return self.submit(feeds).result()

    def submit(self, feeds: Mapping[str, AnyArray]) -> _FakeRun:
        """Count the run, and answer it no sooner than the device has had time for it."""
        if self.is_closed:
            raise InferenceError("the session is closed; load the model again")
        self._free_at_s = max(self._free_at_s, time.monotonic()) + self.latency_s
        place = self.runs % self.max_in_flight
        self._give_up(place)
        self._places[place] = handle = _FakeRun(feeds, self.answer, self._free_at_s)
        self.runs += 1
        waiting = sum(run is not None and not run.is_taken for run in self._places)
        self.most_in_flight = max(self.most_in_flight, waiting)
        return handle

    def close(self) -> None:
        """Refuse further runs, and give up all outputs."""
        self.is_closed = True
        for place in range(self.max_in_flight):
            self._give_up(place)

    def _give_up(self, place: int) -> None:
        earlier = self._places[place]
        if earlier is not None:
            earlier.give_up()


@dataclass(eq=False)
class _FakeRun:
    """A run that FakeAsyncSession queued, which computes only when its result is taken."""

    feeds: Mapping[str, AnyArray]
    answer: Run
    done_at_s: float
    is_taken: bool = False
    is_given_up: bool = False
    outputs: dict[str, AnyArray] = field(default_factory=dict)

    def result(self) -> Mapping[str, AnyArray]:
        """Sleep until the device would be done, and answer."""
        time.sleep(max(0.0, self.done_at_s - time.monotonic()))
        if self.is_given_up:
            raise InferenceError("this run's outputs are given up; take them before later runs")
        self.is_taken = True
        self.outputs = {name: np.array(array) for name, array in self.answer(self.feeds).items()}
        return self.outputs

    def give_up(self) -> None:
        """Overwrite the outputs with zeros, so that a caller which kept them is seen."""
        self.is_given_up = True
        for array in self.outputs.values():
            array.fill(0)


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
        max_in_flight: None for a FakeSession, else of a FakeAsyncSession.

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
    max_in_flight: int | None = None
    sessions: list[FakeSession] = field(default_factory=list, init=False)
    loads: list[tuple[Path, str, dict[str, object]]] = field(default_factory=list, init=False)

    def devices(self) -> list[str]:
        """The `names` that the test gave, whatever the machine has."""
        return list(self.names)

    def load(self, model: Path, *, device: str, options: Mapping[str, object]) -> FakeSession:
        """Remember the arguments; the file need not exist."""
        check_options(options, ("threads",), "fake")
        threads_option(options, 1)
        if device not in self.names:
            raise unknown_device(device, "fake", self.names)
        session = self._session(self.run or self._zeros)
        self.loads.append((model, device, dict(options)))
        self.sessions.append(session)
        return session

    def _session(self, answer: Run) -> FakeSession:
        if self.max_in_flight is None:
            return FakeSession(self.inputs, self.outputs, answer, self.latency_s)
        return FakeAsyncSession(
            self.inputs, self.outputs, answer, self.latency_s, max_in_flight=self.max_in_flight
        )

    def _zeros(self, feeds: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        first = next(iter(feeds.values()))
        batch = first.shape[0] if first.ndim else 1
        return {
            info.name: np.zeros([batch if n is None else n for n in info.shape], info.dtype)
            for info in self.outputs
        }
