"""What `tune` chooses from: one way to run one file, and all the ways there are."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from edgevit.core.machine.cpu import usable_cores
from edgevit.core.model.spec import PREPROCESS_MODES
from edgevit.tune.inputs import Choices, Runtime


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
        file: which file.
        backend: backend name.
        device: device name, not `auto`.
        threads: threads of one run; None for the backend's default.
        spinning: how idle threads wait, by a name of the backend's `TuningOptions`.
        preprocess: `exact` or `fast`.
        streams: runs at a time.
        options: the backend's options for `spinning` and `streams`.
    """

    file: ModelFile
    backend: str
    device: str
    threads: int | None
    spinning: str
    preprocess: str
    streams: int = 1
    options: Mapping[str, object] = field(default_factory=dict, compare=False)

    @property
    def arguments(self) -> dict[str, Any]:
        """What Predictor takes after the model, as JSON values."""
        return {
            "backend": self.backend,
            "device": self.device,
            "threads": self.threads,
            "preprocess": self.preprocess,
            "options": dict(self.options),
        }

    @property
    def answers(self) -> tuple[Path, str, str, str]:
        """What decides its answers: candidates that agree in it are equally accurate."""
        return self.file.path, self.backend, self.device, self.preprocess

    def to_dict(self) -> dict[str, Any]:
        """Describe as JSON values, `model` being the one that was given and `path` what runs."""
        described = asdict(self)
        del described["file"], described["options"]
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
        runtimes: by backend name, the first of which runs the reference.
        threads: thread counts for one run on a processor.
        preprocess: preprocessing modes.
        streams: how many runs at a time, where the backend can.
        spinning: names of ways in which idle threads wait to try; empty for all.
    """

    files: Sequence[ModelFile]
    runtimes: Mapping[str, Runtime]
    threads: Sequence[int]
    preprocess: Sequence[str] = PREPROCESS_MODES
    streams: Sequence[int] = (1,)
    spinning: Sequence[str] = field(default=())

    @property
    def reference(self) -> Candidate:
        """What accuracy is compared with: the first model as it is, with exact preprocessing."""
        first = self.files[0]
        file = ModelFile(first.model, first.model, first.precision)
        backend, runtime = next(iter(self.runtimes.items()))
        return Candidate(file, backend, runtime.devices[0], None, "default", "exact")

    def candidates(self) -> list[Candidate]:
        """List every candidate; those that only differ in preprocessing are neighbors."""
        return [
            Candidate(
                file,
                backend,
                device,
                threads,
                spinning,
                preprocess,
                streams,
                options=_options(runtime, spinning, streams),
            )
            for file in self.files
            for backend, runtime in self.runtimes.items()
            for device in runtime.devices
            for threads, spinning, streams in self._scheduling(runtime, device)
            for preprocess in self.preprocess
        ]

    def _scheduling(self, runtime: Runtime, device: str) -> Iterator[tuple[int | None, str, int]]:
        """Threads, spinning and streams; one thread has no other to wait for."""
        ways = list(runtime.tuning.spinning)
        if device != "cpu":
            yield from product((None,), ways[:1], self._streams(runtime, None))
            return
        wanted = [name for name in ways if not self.spinning or name in self.spinning]
        for threads in self.threads:
            spinning = ways[:1] if threads == 1 else wanted or ways[:1]
            yield from product((threads,), spinning, self._streams(runtime, threads))

    def _streams(self, runtime: Runtime, threads: int | None) -> Iterable[int]:
        """Numbers of streams to try, none above the threads: each stream needs one."""
        if not runtime.tuning.has_streams:
            return (1,)
        return [count for count in self.streams if threads is None or count <= threads]


def _options(runtime: Runtime, spinning: str, streams: int) -> dict[str, object]:
    waiting = runtime.tuning.spinning[spinning]
    return {**waiting, **({"streams": streams} if streams > 1 else {})}


def space_of(
    files: Sequence[ModelFile],
    runtimes: Mapping[str, Runtime],
    choices: Choices,
    *,
    has_streams: bool,
) -> Space:
    """Make the space of all candidates.

    Args:
        files: the files that can run, a first one of the reference.
        runtimes: by backend name.
        choices: what to vary.
        has_streams: whether runs at a time are to be varied.
    """
    counts = thread_counts(usable_cores())
    return Space(
        files=files,
        runtimes=runtimes,
        threads=counts if choices.threads is None else sorted(set(choices.threads)),
        preprocess=choices.preprocess or PREPROCESS_MODES,
        streams=choices.streams or (counts if has_streams else (1,)),
        spinning=choices.spinning or (),
    )


def thread_counts(cores: int) -> list[int]:
    """Powers of two up to the number of cores, and that number.

    Example:
        >>> thread_counts(6)
        [1, 2, 4, 6]
    """
    powers = [2**exponent for exponent in range(cores.bit_length())]
    return sorted({*powers, cores})
