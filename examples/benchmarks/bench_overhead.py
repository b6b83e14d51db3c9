"""What a prediction costs over the runtime's own `run`, measured in turn in one process.

python bench_overhead.py [--model MODEL] [--picture PICTURE] [--runs N]
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray

import edgevit

PICTURE = Path(__file__).parents[1] / "pictures" / "airliner.jpg"


def onnxruntime_run(model: Path, batch: NDArray[np.float32], threads: int) -> Callable[[], object]:
    """A bare ONNX Runtime run of `batch`, set up as edgevit sets it up."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    feeds = {session.get_inputs()[0].name: batch}
    return lambda: session.run(None, feeds)


def openvino_run(model: Path, batch: NDArray[np.float32], threads: int) -> Callable[[], object]:
    """A bare OpenVINO run of `batch`, set up as edgevit sets it up."""
    from edgevit_openvino.vendor import openvino  # without OpenVINO's telemetry

    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = openvino.Core().compile_model(str(model), "CPU", config).create_infer_request()
    return lambda: request.infer([batch], share_inputs=True, share_outputs=True)


BARE = {"onnxruntime": onnxruntime_run, "openvino": openvino_run}


def overhead_ms(
    predictor: edgevit.Predictor, bare: Callable[[], object], image: NDArray[np.uint8], runs: int
) -> tuple[float, float]:
    """Median milliseconds of the bare run, and median extra of a whole prediction beside it."""
    times = []
    for _ in range(runs + 20):
        started = perf_counter()
        bare()
        middle = perf_counter()
        predictor.classify(image)
        times.append((middle - started, perf_counter() - middle))
    bare_s, whole_s = np.array(times[20:]).T
    return 1e3 * float(np.median(bare_s)), 1e3 * float(np.median(whole_s - bare_s))


def main() -> None:
    """Print one line for each runtime, picture size and preprocessing mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=None, help="ONNX file or zoo name")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=200)
    arguments = parser.parse_args()
    picture = cv2.imread(str(arguments.picture))
    print("runtime      picture    mode    bare run ms  overhead ms")
    for name, make_bare in BARE.items():
        for size in ((224, 224), (1080, 1920)):
            image = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
            for mode in ("exact", "fast"):
                with edgevit.Predictor(
                    arguments.model, backend=name, threads=arguments.threads, preprocess=mode
                ) as predictor:
                    batch, _ = predictor.preprocess(image)
                    bare = make_bare(predictor.path, batch, arguments.threads)
                    spent, extra = overhead_ms(predictor, bare, image, arguments.runs)
                print(f"{name:12} {size[0]:4}x{size[1]:<5} {mode:6} {spent:11.2f} {extra:12.2f}")


if __name__ == "__main__":
    main()
