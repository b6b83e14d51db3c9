"""Does memory grow over many predictions? Linux only.

python bench_memory.py [--model MODEL] [--masks] [--predictions N] [--batches N ...]

Predicts pictures of many sizes in turn, by the model's task; `--masks` asks a detector for masks as
well. `--batches` runs batches of these sizes instead, for a model exported with `--dynamic-batch`.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

import edgevit
from edgevit.core.machine.memory import resident_mib

PICTURE = Path(__file__).parents[1] / "pictures" / "airliner.jpg"
SIZES = np.random.default_rng(0).integers(100, 1000, (24, 2)).tolist()


def report_growth(steps: list[Callable[[], object]], count: int) -> None:
    """Take all steps in turn, `count` in all after a warm-up; print how resident memory grew.

    It is read after whole rounds only: what the allocator holds depends on the latest pictures.
    """
    rounds = max(4, count // len(steps))
    marks = {rounds * quarter // 4 for quarter in range(1, 5)}
    for _ in range(2 + rounds // 10):
        take(steps)
    before = resident_mib()
    for done in range(1, rounds + 1):
        take(steps)
        if done in marks:
            growth = resident_mib() - before
            print(f"{done * len(steps):6} predictions: {growth:+.2f} MiB", flush=True)


def take(steps: list[Callable[[], object]]) -> None:
    for step in steps:
        step()


def main() -> None:
    """Predict pictures of changing size, or batches, and print the memory along the way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=None, help="ONNX file or zoo name, of any task")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--masks", action="store_true", help="run lengths of a detector's masks")
    parser.add_argument("--predictions", type=int, default=20_000)
    parser.add_argument("--batches", type=int, nargs="+", help="batch sizes, one after the other")
    arguments = parser.parse_args()
    picture = cv2.imread(str(PICTURE))
    with edgevit.Predictor(arguments.model, backend=arguments.backend) as predictor:
        if arguments.batches:
            batch, _ = predictor.preprocess(picture)
            batches = [np.repeat(batch, count, axis=0) for count in arguments.batches]
            steps = [partial(predictor.infer, images) for images in batches]
        else:
            predict = partial(predictor.detect, masks="rle") if arguments.masks else predictor
            steps = [partial(predict, cv2.resize(picture, size)) for size in SIZES]
        report_growth(steps, arguments.predictions)


if __name__ == "__main__":
    main()
