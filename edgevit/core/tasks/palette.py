"""Colors that tell classes apart."""

import colorsys
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

GOLDEN_TURN = 0.381966  # of the color wheel, the angle that keeps any number of hues apart
TONES = ((0.75, 0.95), (0.55, 0.75), (0.9, 0.6))  # (saturation, value), in turn


@lru_cache(maxsize=8)
def default_palette(count: int) -> NDArray[np.uint8]:
    """Make a color for each of `count` classes; the first ones do not depend on `count`.

    Returns:
        uint8 (count, 3), BGR, read-only.
    """
    colors = [
        colorsys.hsv_to_rgb(index * GOLDEN_TURN % 1, *TONES[index % len(TONES)])[::-1]
        for index in range(count)
    ]
    palette = np.array(np.round(255 * np.array(colors).reshape(-1, 3)), np.uint8)
    palette.flags.writeable = False
    return palette
