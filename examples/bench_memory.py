"""Does memory grow over many predictions? Linux only.

python examples/bench_memory.py [--model MODEL] [--predictions N] [--batches N ...]

`--batches` runs batches of these sizes in turn, for a model exported with `--dynamic-batch`.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

import edgevit
from edgevit.benchmark import resident_mib

PICTURE = Path(__file__).parent / "pictures" / "airliner.jpg"
SIZES = ((480, 640), (224, 224), (720, 1280), (375, 500))


def report_growth(steps: list[Callable[[], object]], count: int) -> None:
    """Take the steps in turn, `count` in all after a warm-up; print how resident memory grew."""
    for _ in range(count // 20 + 10):
        for step in steps:
            step()
    before = resident_mib()
    for index in range(count):
        steps[index % len(steps)]()
        if (index + 1) % (count // 4) == 0:
            print(f"{index + 1:6} predictions: {resident_mib() - before:+.2f} MiB", flush=True)


def main() -> None:
    """Predict pictures of changing size, or batches, and print the memory along the way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=None, help="ONNX file or zoo name")
    parser.add_argument("--backend", default="auto")
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
            images = [np.ascontiguousarray(cv2.resize(picture, size[::-1])) for size in SIZES]
            steps = [partial(predictor.classify, image) for image in images]
        report_growth(steps, arguments.predictions)


if __name__ == "__main__":
    main()
