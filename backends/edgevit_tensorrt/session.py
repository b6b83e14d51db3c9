"""The session: which engine, which context, and whose outputs are still valid."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgevit.backend import AnyArray, check_feeds
from edgevit.errors import InferenceError, InputError, LoadError
from edgevit_tensorrt.buffers import CudaError, Gpu
from edgevit_tensorrt.device_arrays import is_on_device, shape_of
from edgevit_tensorrt.engine import Engine
from edgevit_tensorrt.execution import Execution

ShapesOf = Mapping[str, tuple[int, ...]]


@dataclass(slots=True)
class _Slot:
    """Place for one run at a time: a context of every engine and profile that was needed."""

    executions: dict[tuple[int, int], Execution] = field(default_factory=dict)
    current: Execution | None = None


class TensorRTRun:
    """A run that was submitted; see `edgevit.backend.RunHandle`."""

    def __init__(self, session: TensorRTSession, execution: Execution, number: int) -> None:
        self._session, self._execution, self._number = session, execution, number
        self._execution_number = execution.number

    def result(self) -> dict[str, AnyArray]:
        """Wait for the run and take its outputs, as `edgevit.backend.RunHandle` says."""
        self._session.require_valid(self._number)
        if self._execution.number != self._execution_number:
            raise InferenceError("this run's outputs are gone: a later one failed in their place")
        self._execution.wait()
        return self._execution.outputs()


class TensorRTSession:
    """One model in TensorRT, an `edgevit.backend.AsyncSession`.

    Feeds may be NumPy arrays, or arrays of PyTorch, CuPy, Numba or PyCUDA that are on the session's
    GPU, and are then read where they are: `predictor.session.run({"image": tensor})`.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        gpu_index: int,
        contexts: int,
        cuda_graph: bool,
        grow: Callable[[ShapesOf], Engine] | None,
    ) -> None:
        """Run an engine.

        Args:
            engine: the first engine.
            gpu_index: index of its GPU.
            contexts: how many runs may be in flight at a time.
            cuda_graph: whether runs may be captured.
            grow: makes an engine for shapes that the others do not take; None to refuse these.

        Raises:
            LoadError: if there is not enough memory for a context.
            CudaError: if it is CUDA that says so.
        """
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self.max_in_flight = contexts
        self._engines = [engine]
        self._gpu = engine.gpu
        self._gpu_index, self._cuda_graph, self._grow = gpu_index, cuda_graph, grow
        self._slots = [_Slot() for _ in range(contexts)]
        self._number = 0  # of the last run
        self._slot = 0  # where it is
        self._was_run = True  # and not a submit
        self._execution(self._slots[0], (0, 0))  # what does not fit is known at load
        self._is_closed = False
        # Also without `close`: memory must not go before the runs that use it, nor the driver.
        self._finish = weakref.finalize(self, _finish, self._gpu, self._slots, self._engines)

    def run(self, feeds: Mapping[str, Any]) -> dict[str, AnyArray]:
        """Run the graph once; see `edgevit.backend.Session`."""
        self._require_open()
        # The outputs of a `run` end with the next one, so runs alone need but one context.
        return self._start(feeds, self._slot if self._was_run else self._next(), True).result()

    def submit(self, feeds: Mapping[str, Any]) -> TensorRTRun:
        """Queue a run; see `edgevit.backend.AsyncSession`."""
        self._require_open()
        return self._start(feeds, self._next() if self._number else self._slot, False)

    def close(self) -> None:
        """Release the model, after waiting for what is queued."""
        self._is_closed = True
        self._finish()

    def require_valid(self, number: int) -> None:
        """Refuse the outputs of a run that later ones have overwritten."""
        self._require_open()
        if self._number - number >= self.max_in_flight:
            raise InferenceError(
                f"this run's outputs are gone: {self._number - number} more were submitted, "
                f"and {self.max_in_flight} are kept; take them earlier"
            )

    def _next(self) -> int:
        return (self._slot + 1) % len(self._slots)

    def _require_open(self) -> None:
        if self._is_closed:
            raise InferenceError("the session is closed; load the model again")

    def _start(self, feeds: Mapping[str, Any], index: int, was_run: bool) -> TensorRTRun:
        self._check(feeds)
        slot = self._slots[index]
        if slot.current is not None:
            slot.current.wait()
        shapes = {name: shape_of(feed) for name, feed in feeds.items()}
        try:
            execution = self._execution(slot, self._engine_for(shapes))
        except (LoadError, CudaError) as exc:
            raise InferenceError(f"TensorRT cannot run the shapes {shapes}: {exc}") from exc
        execution.start(feeds)
        slot.current = execution
        self._number += 1
        self._slot, self._was_run = index, was_run
        return TensorRTRun(self, execution, self._number)

    def _check(self, feeds: Mapping[str, Any]) -> None:
        """Check what core has not: feeds of which some are on the GPU."""
        if all(isinstance(feed, np.ndarray) for feed in feeds.values()):
            return
        host = {name: feed for name, feed in feeds.items() if not is_on_device(feed)}
        names = [info.name for info in self.inputs]
        if set(feeds) != set(names):
            raise InputError(f"the model takes the inputs {names}, but was fed {list(feeds)}")
        check_feeds([info for info in self.inputs if info.name in host], host)

    def _execution(self, slot: _Slot, key: tuple[int, int]) -> Execution:
        """The slot's context of an engine and a profile, made when first needed."""
        if key not in slot.executions:
            slot.executions[key] = Execution(
                self._engines[key[0]],
                profile=key[1],
                gpu_index=self._gpu_index,
                may_capture=self._cuda_graph,
            )
        return slot.executions[key]

    def _engine_for(self, shapes: ShapesOf) -> tuple[int, int]:
        for index, engine in enumerate(self._engines):
            profile = engine.profile_for(shapes)
            if profile is not None:
                return index, profile
        free = {info.name: shapes[info.name] for info in self.inputs if info.shape[:1] == (None,)}
        if self._grow is None or any(0 in shape for shape in free.values()):
            raise InputError(
                f"the engine does not take the shapes {dict(shapes)}; it was built for "
                f"{[dict(profile) for profile in self._engines[0].profiles]}; "
                "pass others as option 'profiles'"
            )
        self._engines.append(self._grow(free))
        return len(self._engines) - 1, 0


def _finish(gpu: Gpu, slots: list[_Slot], engines: list[Engine]) -> None:
    with gpu.active():
        for slot in slots:
            for execution in slot.executions.values():
                execution.release()
        slots.clear()
        engines.clear()
