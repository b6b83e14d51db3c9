"""What a runtime must offer to be a backend, and the checks of what goes through it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import DeviceError, InputError, suggestion

# An array whose dtype the graph decides; nothing narrower is true of every model.
AnyArray = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Name, dtype and shape of one graph input or output.

    Args:
        name: the tensor's name in the graph.
        dtype: NumPy dtype.
        shape: one entry for each axis; None where the graph accepts any length.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    def accepts(self, array: AnyArray) -> bool:
        """Say whether `array` has this dtype and fits this shape."""
        return (
            array.dtype == self.dtype
            and array.ndim == len(self.shape)
            and all(
                want is None or want == got
                for want, got in zip(self.shape, array.shape, strict=True)
            )
        )

    def __str__(self) -> str:
        axes = ", ".join("any" if length is None else str(length) for length in self.shape)
        return f"{self.name!r} {self.dtype} ({axes})"


@runtime_checkable
class Session(Protocol):
    """One loaded model. One thread uses it at a time; any thread may."""

    @property
    def inputs(self) -> Sequence[TensorInfo]:
        """Graph inputs, in the graph's order."""

    @property
    def outputs(self) -> Sequence[TensorInfo]:
        """Graph outputs, in the graph's order."""

    def run(self, feeds: Mapping[str, AnyArray]) -> Mapping[str, AnyArray]:
        """Run the graph once.

        Args:
            feeds: one C-contiguous array for each input, already checked by `check_feeds`.

        Returns:
            One array for each output. They are borrowed: valid until the next `run` or `close`.

        Raises:
            InferenceError: if the runtime fails, or the session is closed.
        """

    def close(self) -> None:
        """Release the model and the outputs that were borrowed. Closing twice is allowed."""


@runtime_checkable
class RunHandle(Protocol):
    """One run that `AsyncSession.submit` has queued."""

    def result(self) -> Mapping[str, AnyArray]:
        """Wait for the run and take its outputs, once; any thread may, while others submit.

        Returns:
            One array for each output. They are borrowed: valid until `max_in_flight` more runs have
            been submitted after this one, or the session is closed.

        Raises:
            InferenceError: if the runtime fails, as many more runs have been submitted already, or
                the session is closed.
        """


@runtime_checkable
class AsyncSession(Session, Protocol):
    """A session whose runtime has a queue of its own, which a backend need not have.

    One thread at a time calls `run`, `submit` or `close`. A `run` counts as a submitted one.
    """

    @property
    def max_in_flight(self) -> int:
        """How many runs may be submitted before the first one's outputs are given up, from 1 up.

        One more than the device works on at a time keeps it busy while outputs are read.
        """

    def submit(self, feeds: Mapping[str, AnyArray]) -> RunHandle:
        """Queue one run; wait for the `max_in_flight`-th before it first, where that still lasts.

        Args:
            feeds: as for `run`; they must not be written to until `result` has returned.

        Raises:
            InferenceError: if the runtime fails, or the session is closed; this run does not count.
                What fails later is raised by the handle's `result`.
        """


@runtime_checkable
class Backend(Protocol):
    """A runtime that loads ONNX files."""

    def devices(self) -> Sequence[str]:
        """Devices that can be used now, the one that `auto` takes first."""

    def load(self, model: Path, *, device: str, options: Mapping[str, object]) -> Session:
        """Load a model.

        Args:
            model: an ONNX file.
            device: a device name, not `auto`.
            options: `threads` (int, every backend) and the backend's own options.

        Raises:
            DeviceError: if the device cannot be used; never another device instead.
            InputError: if an option is unknown or has an unusable value.
            LoadError: if the runtime refuses the model.
        """


@dataclass(frozen=True, slots=True)
class TuningOptions:
    """Options of a backend that change how fast it answers on a processor, and no answer.

    Args:
        spinning: how idle threads wait for work: the name of each way, and the options for `load`
            that choose it, as JSON values. The first is what the backend does without them.
        has_streams: whether `load` takes the option `streams`, an int: so many runs at a time.
    """

    spinning: Mapping[str, Mapping[str, object]] = field(default_factory=lambda: {"default": {}})
    has_streams: bool = False


@runtime_checkable
class TunableBackend(Backend, Protocol):
    """A backend with options that `edgevit tune` may vary, which a backend need not have.

    Of any other, `tune` varies device and threads alone.
    """

    def tuning_options(self) -> TuningOptions:
        """Say which options there are; asked once for a search."""


def resolve_device(backend: Backend, name: str, device: str) -> str:
    """Turn `auto` into the backend's first device.

    Args:
        backend: the backend that is asked.
        name: the backend's name, for the message.
        device: a device name or `auto`.

    Raises:
        DeviceError: if the backend has no device at all.
    """
    if device != "auto":
        return device
    available = backend.devices()
    if not available:
        raise DeviceError(
            f"backend {name!r} finds no device on this machine; run `edgevit doctor` for reasons"
        )
    return available[0]


def unknown_device(device: str, backend: str, available: Iterable[str]) -> DeviceError:
    """Make the error for a device that a backend does not have.

    Example:
        >>> print(unknown_device("cuda:1", "onnxruntime", ["cpu", "cuda:0"]))
        device 'cuda:1' is not available to backend 'onnxruntime' (did you mean 'cuda:0'?); \
available: 'cpu', 'cuda:0'
    """
    names = list(available)
    listed = ", ".join(map(repr, names))
    return DeviceError(
        f"device {device!r} is not available to backend {backend!r}{suggestion(device, names)}; "
        f"available: {listed}"
    )


def check_feeds(inputs: Sequence[TensorInfo], feeds: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Check names, dtypes and shapes of what is about to be run.

    Args:
        inputs: the session's inputs.
        feeds: arrays by input name.

    Returns:
        The same arrays, made C-contiguous where they were not.

    Raises:
        InputError: if a name is missing or unknown, or an array has another dtype or shape.
    """
    expected = [info.name for info in inputs]
    if set(feeds) != set(expected):
        raise InputError(
            f"the model takes the inputs {expected}, but was fed {list(feeds)}; "
            "pass exactly these names"
        )
    for info in inputs:
        array = feeds[info.name]
        if not isinstance(array, np.ndarray) or not info.accepts(array):
            raise InputError(f"input {info} was fed {describe(array)}")
    return {name: np.asarray(array, order="C") for name, array in feeds.items()}


def describe(value: object) -> str:
    """Say what a value is, for error messages: dtype and shape of an array, else the type.

    Example:
        >>> describe(np.zeros((2, 3), np.int64))
        'an array of int64 (2, 3)'
        >>> describe("cat")
        'a str'
    """
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} {value.shape}"
    return f"a {type(value).__name__}"
