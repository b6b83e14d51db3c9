"""What `edgevit bench` reports against a stopwatch outside of it, in turn on one Predictor.

python bench_stopwatch.py [--model MODEL] [--runs N] [--threads N]
"""

import argparse
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray

import edgevit
from edgevit.benchmark import BenchmarkReport
from edgevit.benchmark.arithmetic import MatrixProduct
from edgevit.benchmark.measure import PAIRS, CandidateRun

PICTURE = Path(__file__).parents[1] / "pictures" / "airliner.jpg"


def both(
    predictor: edgevit.Predictor, image: NDArray[np.uint8], threads: int, runs: int
) -> tuple[BenchmarkReport, NDArray[np.float64]]:
    """What bench reports, and (whole prediction, bare run) in ms by the stopwatch.

    Both measure the same session: two of the same model differ by some percent, each load anew.
    """
    lane = CandidateRun(predictor, image, threads)
    batch, geometry = predictor.preprocess(image)
    feeds = predictor.feeds(batch, image_size=geometry.filled_size, max_masks=0)
    times = []
    for _ in range(-(-runs // PAIRS)):
        lane.turn(PAIRS)
        predictor.session.run(feeds)
        for _ in range(PAIRS):
            started = perf_counter()
            predictor(image)
            middle = perf_counter()
            predictor.session.run(feeds)
            times.append((1e3 * (middle - started), 1e3 * (perf_counter() - middle)))
    product = MatrixProduct(predictor.backend, predictor.device, threads)
    return lane.report(product), np.array(times).T


def main() -> None:
    """Print reported and outside medians for each runtime and picture size, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=None, help="ONNX file or zoo name")
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    picture = cv2.imread(str(PICTURE))
    print("runtime      picture   what       reported ms  outside ms  off by")
    for name in ("onnxruntime", "openvino"):
        for height, width in ((224, 224), (1080, 1920)):
            image = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
            with edgevit.Predictor(
                arguments.model, backend=name, threads=arguments.threads
            ) as predictor:
                report, (total, runtime) = both(predictor, image, arguments.threads, arguments.runs)
            for what, reported, outside in (
                ("total", report.stages_ms["total"].p50, np.median(total)),
                ("runtime", report.stages_ms["runtime"].p50, np.median(runtime)),
                ("overhead", report.overhead_ms, np.median(total - runtime)),
            ):
                off = f"{reported / outside - 1:+.1%}"
                size = f"{height}x{width}"
                print(f"{name:12} {size:9} {what:10} {reported:11.3f} {outside:11.3f} {off:>7}")


if __name__ == "__main__":
    main()
