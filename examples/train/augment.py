"""What both dense recipes do to their pictures."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def pad_and_cut(image: Image, top: int, left: int, size: tuple[int, int], *, fill: int) -> Image:
    """The window of `size` (height, width) at a place of uint8 (H, W) or (H, W, 3).

    What lies outside the image is `fill`.
    """
    window = np.full((*size, *image.shape[2:]), fill, image.dtype)
    bottom, right = top + size[0], left + size[1]
    part = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    row, column = max(-top, 0), max(-left, 0)
    window[row : row + part.shape[0], column : column + part.shape[1]] = part
    return window


def jitter_color(image: Image, rng: np.random.Generator) -> Image:
    """Change brightness, contrast, saturation and white balance of a BGR image; at times blur."""
    pixels = image.astype(np.float32)
    gray = pixels.mean(axis=2, keepdims=True)
    pixels = gray + (pixels - gray) * np.float32(rng.uniform(0.5, 1.5))
    gains = rng.uniform(0.65, 1.35) * rng.uniform(0.9, 1.1, 3)
    pixels = (pixels - 128) * np.float32(rng.uniform(0.7, 1.3)) + 128
    pixels *= gains.astype(np.float32)
    if rng.random() < 0.2:
        pixels = cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.3, 1.2)))
    return np.clip(pixels, 0, 255).astype(np.uint8)
