"""Draws the pictures of this folder, from meshes and noise, with NumPy and OpenCV.

Usage: python render_scenes.py [airliner] [ship] [truck] [cards] [street]
                               [--output FOLDER] [--scale 1.0]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import airliner
import cv2
import freighter
import lorry
import playing_cards
import street
from lighting import develop
from meshes import Array


class Scene(NamedTuple):
    """How a picture is made.

    Attributes:
        render: linear RGB (H, W, 3) at a size (height, width).
        exposure: factor on that light.
        size: (height, width) of the picture.
    """

    render: Callable[[tuple[int, int]], Array]
    exposure: float
    size: tuple[int, int] = (640, 960)


SCENES = {
    "airliner": Scene(airliner.render, 0.72),
    "ship": Scene(freighter.render, 0.74),
    "truck": Scene(lorry.render, 0.85),
    "cards": Scene(playing_cards.render, 0.95, (720, 960)),
    "street": Scene(street.render, 0.82, (720, 960)),
}
SUPERSAMPLING = 2
JPEG_QUALITY = 90


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"any of {', '.join(SCENES)}; all by default")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--scale", type=float, default=1.0, help="draft size, for example 0.5")
    arguments = parser.parse_args()
    for name in arguments.names or SCENES:
        start = time.perf_counter()
        scene = SCENES[name]
        height, width = (round(side * arguments.scale) for side in scene.size)
        light = scene.render((height * SUPERSAMPLING, width * SUPERSAMPLING))
        picture = develop(light, (height, width), scene.exposure)
        path = arguments.output / f"{name}.jpg"
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        print(f"{path}: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
