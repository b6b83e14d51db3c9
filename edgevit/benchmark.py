"""Measure a model: what the runtime takes, what the SDK adds, how the first answer feels."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevit.core.backend import AnyArray, Session
from edgevit.core.errors import BackendError, EdgeVitError, InputError
from edgevit.core.onnx_file import read_multiply_adds
from edgevit.core.registry import get_backend
from edgevit.predictor import Predictor

logger = logging.getLogger(__name__)

STAGES = ("preprocess", "infer", "postprocess")

# A square float32 matrix product, large enough to show the rate of the machine's arithmetic;
# tests/data/make_matmul.py makes the file.
MATMUL = Path(__file__).parent / "assets" / "matmul.onnx"
MATMUL_SIDE = 1024
MATMUL_RUNS = 50


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Spread of a time over many runs, in milliseconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, times_ms: NDArray[np.float64]) -> Percentiles:
        """Summarise times in milliseconds."""
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
class BenchmarkReport:
    """What `benchmark` measured.

    Args:
        model: name in the spec.
        path: the model file.
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
        mapped_images_per_s: what `Predictor.map` reaches over the same number of images.
        first_answer_ms: from starting a new Python process to its first answer, the median of 3.
        rss_mib: resident memory of this process after the runs; None where it is not known.
        rss_growth_mib: growth of it over the runs, after the warm-up; None where it is not known.
    """

    model: str
    path: str
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
    mapped_images_per_s: float
    first_answer_ms: float
    rss_mib: float | None
    rss_growth_mib: float | None

    def to_dict(self) -> dict[str, Any]:
        """Describe as JSON values."""
        return asdict(self)


def benchmark(
    predictor: Predictor,
    image: NDArray[np.uint8],
    *,
    runs: int = 200,
    warmup: int = 20,
    threads: int | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> BenchmarkReport:
    """Time a Predictor against its runtime's bare run, in turn, in this process.

    Args:
        predictor: what to time.
        image: uint8 (H, W, 3), BGR.
        runs: number of pairs of runs.
        warmup: pairs that do not count.
        threads: what the predictor was asked for, to be repeated in the report and in the new
            process that answers first.
        progress: called after each pair with the number of pairs done.

    Returns:
        The report.

    Raises:
        InputError: if `runs` is not from 1 up.
    """
    if runs < 1:
        raise InputError(f"runs must be from 1 up, not {runs}")
    _time_pairs(predictor, image, warmup, lambda done: None)
    memory = resident_mib()
    times = _time_pairs(predictor, image, runs, progress)
    grown = resident_mib()
    return BenchmarkReport(
        model=predictor.spec.name,
        path=str(predictor.path),
        backend=predictor.backend,
        device=predictor.device,
        threads=threads,
        preprocess=predictor.preprocess_mode,
        image_size=(image.shape[0], image.shape[1]),
        runs=runs,
        stages_ms={name: Percentiles.of(values) for name, values in times.items()},
        overhead_ms=float(np.median(times["total"] - times["runtime"])),
        arithmetic=_arithmetic(predictor, min(runs, MATMUL_RUNS), threads),
        images_per_s=1e3 / float(np.median(times["total"])),
        mapped_images_per_s=_mapped_rate(predictor, image, runs),
        first_answer_ms=first_answer_ms(predictor, image, threads),
        rss_mib=grown,
        rss_growth_mib=None if grown is None or memory is None else grown - memory,
    )


def resident_mib() -> float | None:
    """Resident memory of this process in MiB; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # not Linux
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def first_answer_ms(
    predictor: Predictor, image: NDArray[np.uint8], threads: int | None, repeats: int = 3
) -> float:
    """Time new processes from their start to their first answer.

    Args:
        predictor: names the model, backend and device to use.
        image: uint8 (H, W, 3), BGR; only its size counts.
        threads: threads of one run; None for the default.
        repeats: number of processes.

    Returns:
        Median, milliseconds.

    Raises:
        EdgeVitError: if such a process fails.
    """
    arguments = {
        "model": str(predictor.path),
        "backend": predictor.backend,
        "device": predictor.device,
        "threads": threads,
        "preprocess": predictor.preprocess_mode,
    }
    program = (
        "import json, sys, numpy, edgevit\n"
        "arguments, shape = json.loads(sys.argv[1])\n"
        "image = numpy.random.default_rng(0).integers(0, 256, shape, numpy.uint8)\n"
        "edgevit.Predictor(**arguments)(image)\n"
    )
    command = [sys.executable, "-c", program, json.dumps([arguments, image.shape])]
    return float(np.median([_run_ms(command) for _ in range(repeats)]))


def _run_ms(command: list[str]) -> float:
    started = perf_counter()
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise EdgeVitError(f"a new process could not answer: {finished.stderr.strip()[-300:]}")
    return 1e3 * (perf_counter() - started)


def _time_pairs(
    predictor: Predictor,
    image: NDArray[np.uint8],
    runs: int,
    progress: Callable[[int], object],
) -> dict[str, NDArray[np.float64]]:
    """Alternate a whole prediction with a bare run of the same session on the same batch."""
    batch, geometry = predictor.preprocess(image)
    feeds = predictor.feeds(batch, geometry, masks=False)  # what `predictor(image)` runs with
    times: dict[str, list[float]] = {name: [] for name in (*STAGES, "total", "runtime")}
    for done in range(1, runs + 1):
        started = perf_counter()
        result = predictor(image)
        answered = perf_counter()
        predictor.session.run(feeds)
        finished = perf_counter()
        for name in STAGES:
            times[name].append(result.timings_ms[name])
        times["total"].append(1e3 * (answered - started))
        times["runtime"].append(1e3 * (finished - answered))
        progress(done)
    return {name: np.asarray(values) for name, values in times.items()}


def _arithmetic(predictor: Predictor, runs: int, threads: int | None) -> Arithmetic:
    """Alternate bare runs of the model with a matrix product on the same backend and device."""
    matmul = _load_matmul(predictor, threads)
    noise = np.random.default_rng(0).standard_normal((1, 3, *predictor.spec.input.size))
    feeds = predictor.feeds(noise.astype(np.float32), masks=False)  # which nobody counted
    runners = [(predictor.session, feeds)]
    if matmul is not None:
        runners.append((matmul, _noise_for(matmul)))
    times_s = _medians_s(runners, runs)
    if matmul is not None:
        matmul.close()
    counted = read_multiply_adds(predictor.path)
    gflop = None if counted is None else 2 * counted / 1e9
    rate = None if gflop is None else gflop / times_s[0]
    matrix_rate = None if matmul is None else 2 * MATMUL_SIDE**3 / times_s[1] / 1e9
    share = None if rate is None or matrix_rate is None else rate / matrix_rate
    return Arithmetic(gflop, rate, matrix_rate, share)


def _load_matmul(predictor: Predictor, threads: int | None) -> Session | None:
    options = {} if threads is None else {"threads": threads}
    try:
        return get_backend(predictor.backend).load(MATMUL, device=predictor.device, options=options)
    except BackendError as exc:  # a third party's runtime may know the operators of its models only
        logger.info("backend %s runs no plain matrix product: %s", predictor.backend, exc)
        return None


def _medians_s(runners: list[tuple[Session, dict[str, AnyArray]]], runs: int) -> list[float]:
    """Median seconds of each session's run, in turn; each is timed straight after one of its own.

    The first run finds the caches full of the other model.
    """
    times: list[list[float]] = [[] for _ in runners]
    for _ in range(runs):
        for (session, feed), spent in zip(runners, times, strict=True):
            session.run(feed)
            started = perf_counter()
            session.run(feed)
            spent.append(perf_counter() - started)
    return [float(np.median(spent)) for spent in times]


def _noise_for(session: Session) -> dict[str, AnyArray]:
    """Make one array for each input; free axes get the length 1."""
    generator = np.random.default_rng(0)
    return {
        info.name: generator.standard_normal([n or 1 for n in info.shape]).astype(info.dtype)
        for info in session.inputs
    }


def _mapped_rate(predictor: Predictor, image: NDArray[np.uint8], runs: int) -> float:
    started = perf_counter()
    for _ in predictor.map(image for _ in range(runs)):
        pass
    return runs / (perf_counter() - started)
