"""What `tune` chooses from: one way to run one file, and all the ways there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from edgevit.core.model.spec import PREPROCESS_MODES

# How a runtime's idle threads wait for work, as options of its backend; the first is its default.
# A backend that is not listed has its default alone.
SPINNING: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "onnxruntime": {
        "until-done": {},
        "always": {"config": {"session.force_spinning_stop": "0"}},
        "never": {"config": {"session.intra_op.allow_spinning": "0"}},
    },
    # OpenVINO's threads cannot be told how long to spin, only whether to stay on their cores.
    "openvino": {"default": {}, "pinned": {"config": {"ENABLE_CPU_PINNING": True}}},
}
DEFAULT_SPINNING: Mapping[str, Mapping[str, object]] = {"default": {}}

STREAMING = ("openvino",)  # backends that have the option `streams`


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file that can be run in the place of a model.

    Args:
        model: the model that was given to `search`.
        path: the file itself, or what was converted from it.
        precision: `fp32`, `fp16` or `int8`.
    """

    model: Path
    path: Path
    precision: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run one file.

    Args:
        file: the model's file, or one converted from it.
        backend: backend name.
        device: device name, not `auto`.
        threads: threads of one run; None for the backend's default.
        spinning: how idle threads wait, a name in `SPINNING`.
        preprocess: `exact` or `fast`.
        streams: runs at a time.
    """

    file: ModelFile
    backend: str
    device: str
    threads: int | None
    spinning: str
    preprocess: str
    streams: int = 1

    @property
    def options(self) -> dict[str, object]:
        """The backend's own options for `spinning` and `streams`; `threads` is not in."""
        waiting = SPINNING.get(self.backend, DEFAULT_SPINNING)[self.spinning]
        return {**waiting, **({"streams": self.streams} if self.streams > 1 else {})}

    @property
    def arguments(self) -> dict[str, Any]:
        """What Predictor takes after the model, as JSON values."""
        return {
            "backend": self.backend,
            "device": self.device,
            "threads": self.threads,
            "preprocess": self.preprocess,
            "options": self.options,
        }

    @property
    def answers(self) -> tuple[Path, str, str, str]:
        """What decides its answers: candidates that agree in it are equally accurate."""
        return self.file.path, self.backend, self.device, self.preprocess

    def to_dict(self) -> dict[str, Any]:
        """Describe as JSON values, `model` being the one that was given and `path` what runs."""
        described = asdict(self)
        del described["file"]
        model, path = str(self.file.model), str(self.file.path)
        return {"model": model, "path": path, "precision": self.file.precision, **described}

    def __str__(self) -> str:
        threads = "" if self.threads is None else f", {self.threads} threads {self.spinning}"
        streams = f", {self.streams} streams" if self.streams > 1 else ""
        return (
            f"{self.file.model.stem} {self.file.precision} on {self.backend} {self.device}"
            f"{threads}{streams}, {self.preprocess}"
        )


@dataclass(frozen=True, slots=True)
class Space:
    """What the search may vary.

    Args:
        files: the files that can be run.
        devices: the devices of each backend.
        threads: thread counts for one run on a processor.
        preprocess: preprocessing modes.
        streams: how many runs at a time, where the backend can.
        spinning: names of `SPINNING` to try; empty for all.
    """

    files: Sequence[ModelFile]
    devices: Mapping[str, Sequence[str]]
    threads: Sequence[int]
    preprocess: Sequence[str] = PREPROCESS_MODES
    streams: Sequence[int] = (1,)
    spinning: Sequence[str] = field(default=())

    def candidates(self) -> list[Candidate]:
        """List every candidate; those that only differ in preprocessing are neighbours."""
        return [
            Candidate(file, backend, device, threads, spinning, preprocess, streams)
            for file in self.files
            for backend, devices in self.devices.items()
            for device in devices
            for threads, spinning, streams in self._scheduling(backend, device)
            for preprocess in self.preprocess
        ]

    def _scheduling(self, backend: str, device: str) -> Iterator[tuple[int | None, str, int]]:
        """Threads, spinning and streams; one thread has no other to wait for."""
        waiting = list(SPINNING.get(backend, DEFAULT_SPINNING))
        if device != "cpu":
            yield from product((None,), waiting[:1], self._streams(backend, None))
            return
        wanted = [name for name in waiting if not self.spinning or name in self.spinning]
        for threads in self.threads:
            spinning = waiting[:1] if threads == 1 else wanted or waiting[:1]
            yield from product((threads,), spinning, self._streams(backend, threads))

    def _streams(self, backend: str, threads: int | None) -> Iterable[int]:
        """Numbers of streams to try, none above the threads: each stream needs one."""
        if backend not in STREAMING:
            return (1,)
        return [count for count in self.streams if threads is None or count <= threads]


def thread_counts(cores: int) -> list[int]:
    """Powers of two up to the number of cores, and that number.

    Example:
        >>> thread_counts(6)
        [1, 2, 4, 6]
    """
    powers = [2**exponent for exponent in range(cores.bit_length())]
    return sorted({*powers, cores})
