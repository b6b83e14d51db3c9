"""Where a batch's pixels lie in the source image, and back.

Continuous image coordinates, as Pillow and COCO use them: a pixel (row r, column c) covers
[c, c + 1) x [r, r + 1), so an image spans (0, 0) to (width, height).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Geometry:
    """The part of a source image that fills a rectangle of the network input.

    Args:
        source_size: (height, width) of the source image in pixels.
        source_box: (x0, y0, x1, y1) of the resampled region, source pixels, may be fractional and
            may reach beyond the image where a crop is larger than it.
        input_size: (height, width) of the network input in pixels.
        input_box: (x0, y0, x1, y1), whole input pixels that the region fills; the rest is padding.
    """

    source_size: tuple[int, int]
    source_box: Box
    input_size: tuple[int, int]
    input_box: tuple[int, int, int, int]

    @property
    def filled_size(self) -> tuple[int, int]:
        """The (height, width) in input pixels that the image fills, from the upper left on."""
        _, _, right, bottom = self.input_box
        return bottom, right

    @property
    def scale(self) -> tuple[float, float]:
        """Source pixels per input pixel, (x, y)."""
        sx0, sy0, sx1, sy1 = self.source_box
        ix0, iy0, ix1, iy1 = self.input_box
        return (sx1 - sx0) / (ix1 - ix0), (sy1 - sy0) / (iy1 - iy0)

    def points_to_source(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Map points from the network input to the source image.

        Args:
            points: float (..., 2), (x, y) in input pixels.

        Returns:
            float32 (..., 2), (x, y) in source pixels, not clipped.
        """
        scale = np.asarray(self.scale)
        moved = np.asarray(points, np.float64) - self.input_box[:2]
        return np.asarray(moved * scale + self.source_box[:2], np.float32)

    def points_to_input(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Map points from the source image to the network input; inverse of `points_to_source`.

        Args:
            points: float (..., 2), (x, y) in source pixels.

        Returns:
            float32 (..., 2), (x, y) in input pixels, not clipped.
        """
        scale = np.asarray(self.scale)
        moved = np.asarray(points, np.float64) - self.source_box[:2]
        return np.asarray(moved / scale + self.input_box[:2], np.float32)

    def boxes_to_source(self, boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Map boxes to the source image and clip them to it.

        Args:
            boxes: float (N, 4), xyxy in input pixels.

        Returns:
            float32 (N, 4), xyxy in source pixels, within (0, 0, width, height).
        """
        corners = self.points_to_source(np.asarray(boxes, np.float64).reshape(-1, 2, 2))
        height, width = self.source_size
        return np.clip(corners, 0, np.array([width, height], np.float32)).reshape(-1, 4)
