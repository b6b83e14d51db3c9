"""Draws the pictures of this folder, from meshes and noise, with NumPy and OpenCV.

Usage: python render_scenes.py [airliner] [ship] [truck] [--output FOLDER] [--scale 1.0]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import airliner
import cv2
import freighter
import lorry
from lighting import develop

SCENES = {
    "airliner": (airliner.render, 0.72),
    "ship": (freighter.render, 0.74),
    "truck": (lorry.render, 0.85),
}
SIZE = (640, 960)
SUPERSAMPLING = 2
JPEG_QUALITY = 90


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"any of {', '.join(SCENES)}; all by default")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    parser.add_argument("--scale", type=float, default=1.0, help="draft size, for example 0.5")
    arguments = parser.parse_args()
    height, width = (round(side * arguments.scale) for side in SIZE)
    for name in arguments.names or SCENES:
        start = time.perf_counter()
        render, exposure = SCENES[name]
        light = render((height * SUPERSAMPLING, width * SUPERSAMPLING))
        picture = develop(light, (height, width), exposure)
        path = arguments.output / f"{name}.jpg"
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        print(f"{path}: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
