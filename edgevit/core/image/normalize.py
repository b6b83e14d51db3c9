"""Pixels to network input: channel order, scale and layout in one sweep.

Example:
    >>> normalization = Normalization.from_mean_std((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    >>> out = np.empty((3, 2, 2), np.float32)
    >>> normalize_into(np.full((3, 2, 2), 255, np.uint8), normalization, out)
    >>> bool((out == 1).all())
    True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgevit.errors import InputError

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Normalization:
    """`value * scale + offset` for each plane of the network input.

    Args:
        scale: factor of each plane, in the planes' order.
        offset: term of each plane, in the planes' order.
        channels: the image's channel that becomes each plane; (2, 1, 0) makes RGB from BGR.
    """

    scale: Triple
    offset: Triple
    channels: tuple[int, int, int] = (0, 1, 2)

    @classmethod
    def from_mean_std(
        cls, mean: Triple, std: Triple, *, swap_channels: bool = False
    ) -> Normalization:
        """The normalization `(value / 255 - mean) / std`.

        Args:
            mean: of each plane, for values from 0 to 1.
            std: of each plane, for values from 0 to 1.
            swap_channels: whether the image's channels are in the reverse order of the planes.

        Raises:
            InputError: if a standard deviation is zero.
        """
        if 0 in std:
            raise InputError(f"std {std!r} would divide by zero; pass three nonzero numbers.")
        scale = (1 / (255 * std[0]), 1 / (255 * std[1]), 1 / (255 * std[2]))
        offset = (-mean[0] / std[0], -mean[1] / std[1], -mean[2] / std[2])
        return cls(scale, offset, (2, 1, 0) if swap_channels else (0, 1, 2))


def normalize_into(
    planes: Sequence[NDArray[np.uint8]], normalization: Normalization, out: NDArray[np.float32]
) -> None:
    """Write the normalized planes of an image.

    Args:
        planes: three uint8 (H, W) arrays, in the order of the image's channels.
        normalization: what to compute from them.
        out: float32 (3, H, W), written to; any window of a larger array will do.

    Raises:
        InputError: if `out` does not have that type or shape.
    """
    height, width = planes[0].shape
    if out.dtype != np.float32 or out.shape != (3, height, width):
        raise InputError(
            f"the normalized image needs a float32 array of shape {(3, height, width)}, "
            f"not {out.dtype} of shape {out.shape}."
        )
    for plane, channel in enumerate(normalization.channels):
        values = planes[channel]
        scale, offset = normalization.scale[plane], normalization.offset[plane]
        # The one operation of OpenCV that scales, shifts and converts to float32 together.
        cv2.addWeighted(values, scale, values, 0, offset, out[plane], cv2.CV_32F)
