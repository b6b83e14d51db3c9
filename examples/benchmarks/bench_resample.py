"""Time and check the resampling: `python bench_resample.py [PHOTO]`.

Every method resizes the shorter side to 256 and keeps the center 224 x 224; they take turns in one
process. Without PHOTO a 1080p scene is drawn. Errors are against Pillow, or without it `exact`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from time import perf_counter

import cv2
import numpy as np

from edgevit.core.image.normalize import Normalization, normalize_into
from edgevit.core.image.resample import ResamplePlan, resample, resample_plan, resample_planes

SHORT, CROP = 256, 224
NORMALIZATION = Normalization.from_mean_std(
    (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), swap_channels=True
)


def scene(height: int = 1080, width: int = 1920) -> np.ndarray:
    """A street-like picture: light, sharp-edged saturated shapes at all sizes, texture, grain."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    image = np.stack([110 + 70 * np.cos(y / 300 + c) + 40 * np.sin(x / 90) for c in range(3)], -1)
    for size in np.geomspace(height / 4, 4, 300):
        corner = random.uniform(0, 1, 2) * (width, height)
        color = random.choice([0, 40, 128, 200, 255], 3).astype(float)
        points = cv2.boxPoints((corner, size * random.uniform(0.3, 1, 2), random.uniform(0, 90)))
        cv2.fillPoly(image, [points.astype(np.int32)], color.tolist(), cv2.LINE_AA)
    image += random.normal(0, 4, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def methods(image: np.ndarray) -> dict[str, Callable[[], np.ndarray | None]]:
    """What to time; the results of those that return an image are compared with the first's."""
    size = height, width = image.shape[:2]
    resized = SHORT * height // min(size), SHORT * width // min(size)
    top, left = round((resized[0] - CROP) / 2), round((resized[1] - CROP) / 2)
    exact = resample_plan(size, resized, window=(top, left, CROP, CROP))
    fast = resample_plan(size, resized, window=(top, left, CROP, CROP), mode="fast")
    down, across = height / resized[0], width / resized[1]
    box = left * across, top * down, (left + CROP) * across, (top + CROP) * down
    x0, y0, x1, y1 = map(round, box)
    out = np.empty((3, CROP, CROP), np.float32)

    def normalized(plan: ResamplePlan) -> None:
        normalize_into(resample_planes(image, plan), NORMALIZATION, out)

    table: dict[str, Callable[[], np.ndarray | None]] = {
        "exact": lambda: resample(image, exact),
        "fast": lambda: resample(image, fast),
        "cv2 INTER_AREA": lambda: cv2.resize(
            image[y0:y1, x0:x1], (CROP, CROP), interpolation=cv2.INTER_AREA
        ),
        "exact + normalize": lambda: normalized(exact),
        "fast + normalize": lambda: normalized(fast),
    }
    if find_spec("PIL") is None:
        return table
    from PIL import Image

    picture, bicubic = Image.fromarray(image), Image.Resampling.BICUBIC
    return {"Pillow": lambda: np.asarray(picture.resize((CROP, CROP), bicubic, box))} | table


def interleaved(table: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median time of every method in ms; they take turns, so what slows one slows all."""
    times: dict[str, list[float]] = {name: [] for name in table}
    for _ in range(rounds + 3):
        for name, method in table.items():
            start = perf_counter()
            method()
            times[name].append((perf_counter() - start) * 1e3)
    return {name: median(values[3:]) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the resampling's speed and error.")
    parser.add_argument("photo", nargs="?", help="a picture; by default a 1080p scene is drawn")
    parser.add_argument("--rounds", type=int, default=100, help="times each method is run")
    arguments = parser.parse_args()
    image = cv2.imread(arguments.photo) if arguments.photo else scene()
    if image is None:
        parser.error(f"cannot read {arguments.photo!r}")
    table = methods(image)
    first = next(iter(table))
    reference = table[first]()
    times = interleaved(table, arguments.rounds)
    print(f"{image.shape[0]} x {image.shape[1]} to {CROP} x {CROP}; errors against {first}, of 255")
    print(f"{'':20}{'median ms':>10}{'speed':>8}{'max error':>11}{'mean error':>12}")
    for name, method in table.items():
        print(f"{name:20}{times[name]:>10.2f}{times[first] / times[name]:>7.2f}x", end="")
        result = method()
        error = None if result is None else np.abs(result.astype(int) - reference)
        print("" if error is None else f"{error.max():>11}{error.mean():>12.3f}")


if __name__ == "__main__":
    main()
