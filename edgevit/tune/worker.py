"""The process that runs candidates: it reads requests, a JSON line each, and answers them.

A process of its own, so that a runtime that crashes on a model ends one candidate and not the
search, and so that memory and processor time are the candidate's.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter, process_time, sleep
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgevit.core.image.load import load_image
from edgevit.core.machine.memory import resident_mib
from edgevit.errors import EdgeVitError
from edgevit.predictor import Predictor

Image = NDArray[np.uint8]

WARMUP = 3  # predictions before the first counted one of a turn: others had the caches meanwhile
FIRST_WARMUP = 2  # more of them before the first turn

# Threads of a runtime go on spinning after the last prediction, some for 40 ms, and would take a
# core from the candidate whose turn is next.
IDLE_STEP_S = 0.002
IDLE_SHARE = 0.2
IDLE_STEPS = 50


class Worker:
    """Holds loaded candidates and measures one when asked."""

    def __init__(self, images: Sequence[Image]) -> None:
        """Take the images that are predicted, in turn."""
        self._images = images
        self._loaded: dict[str, Predictor] = {}

    def measure(
        self, path: str, arguments: Mapping[str, Any], runs: int, mode: str
    ) -> dict[str, Any]:
        """Predict `runs` times, one by one (mode `each`) or with `map` (mode `map`).

        Returns:
            The fields of a Sample.
        """
        predictor = self._predictor(path, arguments)
        _predict_each(predictor, self._images, WARMUP)
        run = MODES[mode]
        cpu, started = process_time(), perf_counter()
        times = run(predictor, self._images, runs)
        spent = perf_counter() - started
        cpu = process_time() - cpu
        _wait_until_idle()
        return {
            "times_ms": times,
            "cpu_ms": 1e3 * cpu / runs,
            "images_per_s": runs / spent,
            "rss_mib": resident_mib(),
        }

    def _predictor(self, path: str, arguments: Mapping[str, Any]) -> Predictor:
        """Load once what differs in preprocessing alone."""
        mode = arguments["preprocess"]
        key = json.dumps([path, {**arguments, "preprocess": None}], sort_keys=True)
        if key not in self._loaded:
            self._loaded[key] = Predictor(path, **arguments)
            _predict_each(self._loaded[key], self._images, FIRST_WARMUP)
        predictor = self._loaded[key]
        if predictor.preprocess_mode != mode:
            key = f"{key} {mode}"
            self._loaded.setdefault(key, predictor.with_preprocess(mode))
        return self._loaded[key]


def _predict_each(predictor: Predictor, images: Sequence[Image], runs: int) -> list[float]:
    times = []
    for run in range(runs):
        started = perf_counter()
        predictor(images[run % len(images)])
        times.append(1e3 * (perf_counter() - started))
    return times


def _predict_mapped(predictor: Predictor, images: Sequence[Image], runs: int) -> list[float]:
    stream = (images[run % len(images)] for run in range(runs))
    return [sum(result.timings_ms.values()) for result in predictor.map(stream)]


MODES: Mapping[str, Callable[[Predictor, Sequence[Image], int], list[float]]] = {
    "each": _predict_each,
    "map": _predict_mapped,
}


def _wait_until_idle() -> None:
    for _ in range(IDLE_STEPS):
        used, started = process_time(), perf_counter()
        sleep(IDLE_STEP_S)
        if process_time() - used < IDLE_SHARE * (perf_counter() - started):
            return


def load_images(paths: Sequence[str], size: tuple[int, int] | None) -> list[Image]:
    """Decode images, and stretch them where a size is given.

    Args:
        paths: image files, in any format that `load_image` reads.
        size: (height, width) of a camera's frames; None to keep the images' own.

    Returns:
        uint8 (H, W, 3), BGR.
    """
    images = [load_image(path).pixels for path in paths]
    if size is None:
        return images
    return [cv2.resize(image, size[::-1]).astype(np.uint8) for image in images]


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Load the images that the first line names, say so, then answer requests until their end.

    An error of ours is an answer; any other ends the process.
    """
    first = json.loads(requests.readline())
    worker = Worker(load_images(first["images"], first["size"]))
    _send({"ready": True}, answers)
    for line in requests:
        try:
            answer = worker.measure(**json.loads(line))
        except EdgeVitError as exc:
            answer = {"error": str(exc)}
        _send(answer, answers)


def _send(document: Mapping[str, Any], answers: IO[str]) -> None:
    answers.write(json.dumps(document) + "\n")
    answers.flush()


def main() -> None:
    """Serve standard input and output; whatever else writes to standard output goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, answers)
