"""Measure candidates in turn, in one run."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edgevit.benchmark.arithmetic import MatrixProduct
from edgevit.benchmark.report import STAGES, BenchmarkReport, Candidate, Comparison, Percentiles
from edgevit.benchmark.start import Start, start
from edgevit.core.machine.cpu import ROOT
from edgevit.core.machine.fingerprint import fingerprint
from edgevit.core.machine.state import MachineMonitor
from edgevit.core.model.precision import precision_of
from edgevit.errors import InputError
from edgevit.predictor import Predictor

Progress = Callable[[str, int, int], object]

COLUMNS = (*STAGES, "total", "runtime")
PAIRS = 5  # of one candidate before it is another's turn
MAPS = 3  # turns of `Predictor.map`
GROWTH_RUNS = 50  # predictions at most over which a new process's memory is watched


class CandidateRun:
    """One candidate, loaded, with what was measured of it."""

    def __init__(self, predictor: Predictor, image: NDArray[np.uint8], threads: int | None) -> None:
        self.predictor, self.image, self.threads = predictor, image, threads
        self.pairs: list[tuple[float, ...]] = []  # milliseconds, by COLUMNS
        self.rates: list[float] = []  # images per second with map
        self.starts: list[Start] = []
        batch, geometry = predictor.preprocess(image)
        self._feeds = predictor.feeds(
            batch, image_size=geometry.filled_size, max_masks=0
        )  # as predictor() does

    def turn(self, pairs: int) -> None:
        """Alternate a whole prediction with a bare run of the same session on the same batch.

        The first run does not count: it finds the caches full of another model.
        """
        self.predictor.session.run(self._feeds)
        for _ in range(pairs):
            started = perf_counter()
            result = self.predictor(self.image)
            answered = perf_counter()
            self.predictor.session.run(self._feeds)
            finished = perf_counter()
            stages = (result.timings_ms[name] for name in STAGES)
            # In one piece: an interrupt must not leave half a pair.
            self.pairs.append((*stages, 1e3 * (answered - started), 1e3 * (finished - answered)))

    def map(self, count: int) -> None:
        """Time `Predictor.map` over the image, `count` times."""
        started = perf_counter()
        for _ in self.predictor.map(self.image for _ in range(count)):
            pass
        self.rates.append(count / (perf_counter() - started))

    def start(self, predictions: int) -> None:
        """Start a new process with this candidate; the first also tells its memory."""
        size = (self.image.shape[0], self.image.shape[1])
        count = 0 if self.starts else predictions
        self.starts.append(start(self.predictor, size, self.threads, count))

    def report(self, product: MatrixProduct) -> BenchmarkReport:
        """Sum the turns up, which may go on afterwards.

        Args:
            product: the same runtime's matrix product, for the share of its rate.
        """
        times = dict(zip(COLUMNS, np.asarray(self.pairs).T, strict=True))
        stages_ms = {name: Percentiles.of(values) for name, values in times.items()}
        predictor = self.predictor
        begun = self.starts[0] if self.starts else None  # the one that went on predicting
        return BenchmarkReport(
            model=predictor.spec.name,
            task=predictor.spec.task,
            path=str(predictor.path),
            file_mib=predictor.path.stat().st_size / 2**20,
            precision=precision_of(predictor.path),
            backend=predictor.backend,
            device=predictor.device,
            threads=self.threads,
            preprocess=predictor.preprocess_mode,
            image_size=(self.image.shape[0], self.image.shape[1]),
            runs=len(self.pairs),
            stages_ms=stages_ms,
            overhead_ms=float(np.median(times["total"] - times["runtime"])),
            arithmetic=product.arithmetic(predictor.path, stages_ms["runtime"].p50),
            images_per_s=1e3 / stages_ms["total"].p50,
            mapped_images_per_s=_median(self.rates),
            first_answer_ms=_median([each.first_answer_ms for each in self.starts]),
            rss_mib=begun.rss_mib if begun else None,
            rss_peak_mib=begun.rss_peak_mib if begun else None,
            rss_growth_mib=begun.rss_growth_mib if begun else None,
        )


def compare(
    candidates: Sequence[Candidate],
    image: NDArray[np.uint8],
    *,
    runs: int = 200,
    warmup: int = 20,
    starts: int = 3,
    progress: Progress = lambda phase, done, total: None,
    root: Path = ROOT,
) -> Comparison:
    """Measure candidates in turn in this process, each against its runtime's bare run.

    All candidates are loaded at once and take turns in changing order, a few pairs of a whole
    prediction and a bare run of the same session each: whatever slows the machine down for a while
    slows all of them. Each turn begins with a run that does not count. Then `map` is timed in
    turns, then new processes are started in turns, one candidate in each. A KeyboardInterrupt ends
    the run early, with what was measured so far, once every candidate has had a turn.

    Args:
        candidates: what to measure, one or more.
        image: uint8 (H, W, 3), BGR.
        runs: number of pairs of runs of each candidate.
        warmup: pairs of each before that, which do not count.
        starts: new processes of each candidate for the first answer; 0 for none, and then memory is
            not known.
        progress: called with the phase (`runs`, `map` or `first answers`), how much of it is done,
            and of how much.
        root: where proc and sys are.

    Returns:
        What was measured, with the machine's fingerprint and its state before and after.

    Raises:
        InputError: if there is no candidate, or a number is too small.
        EdgeVitError: if a candidate cannot be loaded, or fails.
    """
    _check(candidates, runs=runs, warmup=warmup, starts=starts)
    watch = MachineMonitor(root)
    with ExitStack() as stack:
        lanes = [_load(candidate, image, stack) for candidate in candidates]
        products = {
            runtime: stack.enter_context(closing(MatrixProduct(*runtime)))
            for runtime in dict.fromkeys(map(_runtime, lanes))
        }
        for lane in lanes:
            lane.turn(warmup)
            lane.pairs.clear()
        is_interrupted = False
        try:
            _take_turns(lanes, list(products.values()), runs, watch=watch, progress=progress)
            _map_in_turn(lanes, runs, progress)
            _start_in_turn(lanes, runs, starts, progress)
        except KeyboardInterrupt:
            if not all(lane.pairs for lane in lanes):
                raise
            is_interrupted = True
        reports = tuple(lane.report(products[_runtime(lane)]) for lane in lanes)
    return Comparison(reports, fingerprint(root), watch.finish(), is_interrupted)


def _check(candidates: Sequence[Candidate], *, runs: int, warmup: int, starts: int) -> None:
    if not candidates:
        raise InputError("there is nothing to compare; pass one or more candidates")
    for name, value, least in (("runs", runs, 1), ("warmup", warmup, 0), ("starts", starts, 0)):
        if value < least:
            raise InputError(f"{name} must be from {least} up, not {value}")


def _load(candidate: Candidate, image: NDArray[np.uint8], stack: ExitStack) -> CandidateRun:
    predictor = Predictor(
        candidate.model,
        backend=candidate.backend,
        device=candidate.device,
        threads=candidate.threads,
        preprocess=candidate.preprocess,
    )
    return CandidateRun(stack.enter_context(predictor), image, candidate.threads)


def _runtime(lane: CandidateRun) -> tuple[str, str, int | None]:
    return lane.predictor.backend, lane.predictor.device, lane.threads


def _take_turns(
    lanes: Sequence[CandidateRun],
    products: Sequence[MatrixProduct],
    runs: int,
    *,
    watch: MachineMonitor,
    progress: Progress,
) -> None:
    generator = np.random.default_rng(0)
    done, total = 0, runs * len(lanes)
    while done < total:
        pairs = min(PAIRS, (total - done) // len(lanes))
        for index in generator.permutation(len(lanes)):  # nobody always follows the same one
            lanes[index].turn(pairs)
            watch.tick()
            done += pairs
            progress("runs", done, total)
        for product in products:
            product.turn()


def _map_in_turn(lanes: Sequence[CandidateRun], runs: int, progress: Progress) -> None:
    for done in range(1, MAPS + 1):
        for lane in lanes:
            lane.map(-(-runs // MAPS))
        progress("map", done, MAPS)


def _start_in_turn(
    lanes: Sequence[CandidateRun], runs: int, starts: int, progress: Progress
) -> None:
    for done in range(1, starts + 1):
        for lane in lanes:
            lane.start(min(runs, GROWTH_RUNS))
        progress("first answers", done, starts)


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
