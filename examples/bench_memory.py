"""Does memory grow? `python examples/bench_memory.py [--model MODEL] [--predictions N]` (Linux)."""

import argparse
from pathlib import Path

import cv2
import numpy as np

import edgevit
from edgevit.benchmark import resident_mib

PICTURE = Path(__file__).parent / "pictures" / "airliner.jpg"
SIZES = ((480, 640), (224, 224), (720, 1280), (375, 500))


def main() -> None:
    """Predict pictures of changing size and print the resident memory along the way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=None, help="ONNX file or zoo name")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--predictions", type=int, default=20_000)
    arguments = parser.parse_args()
    picture = cv2.imread(str(PICTURE))
    images = [np.ascontiguousarray(cv2.resize(picture, size[::-1])) for size in SIZES]
    with edgevit.Predictor(arguments.model, backend=arguments.backend) as predictor:
        for _ in range(200):
            for image in images:
                predictor.classify(image)
        before = resident_mib()
        for index in range(arguments.predictions):
            predictor.classify(images[index % len(images)])
            if (index + 1) % (arguments.predictions // 4) == 0:
                print(f"{index + 1:6} predictions: {resident_mib() - before:+.2f} MiB", flush=True)


if __name__ == "__main__":
    main()
