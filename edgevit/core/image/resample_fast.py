"""Fast resampling with OpenCV: halving by the mean of 2x2 pixels, then one interpolation.

Halving is what OpenCV does fastest, and it is antialiased. What is left, a factor from 1 to 2, or
an enlargement, is interpolated. The interpolation works on a part of the image whose edges lie
where pixels of the result begin, so that nothing outside the window is computed and pixels keep
their places; where no such part exists, an affine warp does the same more slowly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgevit.core.image.axis import AxisMapping

Bytes = NDArray[np.uint8]

ENLARGING = {  # OpenCV's interpolation where no axis shrinks
    "bicubic": cv2.INTER_CUBIC,
    "bilinear": cv2.INTER_LINEAR,
    "lanczos": cv2.INTER_LANCZOS4,
}
MAX_DISTORTION = 2.0  # ratio of the axes' scales, above which halving both would blur or alias one
MAX_SHIFT = 1 / 16  # of a result pixel, by which a part's edges may miss those of its pixels
_SEARCH = 24  # result pixels next to the window where a part may begin or end


@dataclass(frozen=True, slots=True)
class Part:
    """A part of one axis, and what it becomes.

    Args:
        begin: its first source pixel.
        count: its pixels once halved.
        length: pixels of the result that it is interpolated to.
        skip: pixels of that before the window.
        shift: how far the result's pixels are from their places at most, in result pixels.
    """

    begin: int
    count: int
    length: int
    skip: int
    shift: float


@dataclass(frozen=True, slots=True, eq=False)
class HalvingMethod:
    """A fast resize.

    Args:
        size: (height, width) of the window of the result.
        halvings: how often the part is halved.
        rows: the rows of the source that the window is made of.
        columns: the columns of the source that the window is made of.
        interpolation: OpenCV's name for the last step.
        warp: float64 (2, 3), from result pixels to pixels of the halved part; None for a resize.
    """

    size: tuple[int, int]
    halvings: int
    rows: Part
    columns: Part
    interpolation: int
    warp: NDArray[np.float64] | None

    def prepare(self) -> HalvingResize:
        """Make what resamples, with buffers of its own that only one thread may use at a time."""
        return HalvingResize(self)


def halving_method(
    rows: AxisMapping, columns: AxisMapping, interpolation: str
) -> HalvingMethod | None:
    """Work out a fast resize.

    Args:
        rows: what the vertical axis maps.
        columns: what the horizontal axis maps.
        interpolation: how to enlarge, "bicubic", "bilinear", "lanczos" or "box".

    Returns:
        The method; None where the axes are scaled too differently for one, and for enlarging by
        "box", which OpenCV and Pillow do not place alike.
    """
    scales = rows.scale, columns.scale
    code = ENLARGING.get(interpolation) if max(scales) < 1 else cv2.INTER_LINEAR
    if code is None or max(scales) > MAX_DISTORTION * min(scales):
        return None
    # Halved once more, an axis would be shorter than the result, and detail would be lost.
    halvings = max(0, math.floor(math.log2(min(scales))))
    size, factor = (rows.length, columns.length), 2**halvings
    parts = [_aligned_part(axis, factor) for axis in (rows, columns)]
    if max(part.shift for part in parts) <= MAX_SHIFT:
        return HalvingMethod(size, halvings, parts[0], parts[1], code, None)
    parts = [_covering_part(axis, factor) for axis in (rows, columns)]
    down, across = (
        _warp_row(axis, part, factor) for axis, part in zip((rows, columns), parts, strict=True)
    )
    warp = np.array([[across[0], 0, across[1]], [0, down[0], down[1]]])
    return HalvingMethod(size, halvings, parts[0], parts[1], code, warp)


def _aligned_part(mapping: AxisMapping, factor: int) -> Part:
    """The part around the window that is nearest to whole pixels at both of its ends."""
    last = mapping.offset + mapping.length
    margin = max(2, math.ceil(2 * factor / mapping.scale))  # what the interpolation looks at
    reach = margin + _SEARCH
    # Columns for the first pixel of the part, rows for its end; both in pixels of the result.
    firsts = np.arange(max(0, mapping.offset - reach), max(0, mapping.offset - margin) + 1)
    ends = np.arange(min(mapping.resized, last + margin), min(mapping.resized, last + reach) + 1)
    ends = ends[:, None]
    begins = np.rint(firsts * mapping.scale).astype(np.int64)
    counts = np.rint((ends * mapping.scale - begins) / factor).astype(np.int64)
    counts = np.minimum(counts, (mapping.source - begins) // factor)
    lengths = ends - firsts
    shifts = np.zeros(lengths.shape)
    for pixel in (mapping.offset, last):
        place = begins + (pixel - firsts) * counts * factor / lengths
        meant = pixel * mapping.scale
        shifts = np.maximum(shifts, np.abs(place - meant) / mapping.scale)
    fits = (counts >= 1) & (counts * factor <= mapping.source - begins)
    shifts[~fits] = np.inf
    cost = np.where(shifts <= MAX_SHIFT, shifts + 1e-3 * lengths, np.inf)  # a small part is fast
    row, column = np.unravel_index(cost.argmin(), cost.shape)
    return Part(
        int(begins[column]),
        int(counts[row, column]),
        int(lengths[row, column]),
        int(mapping.offset - firsts[column]),
        float(shifts[row, column]),
    )


def _covering_part(mapping: AxisMapping, factor: int) -> Part:
    """The part that a warp to the window looks at, in whole blocks of `factor` pixels."""
    first = (mapping.offset - 2) * mapping.scale - 2 * factor
    last = (mapping.offset + mapping.length + 2) * mapping.scale + 2 * factor
    begin, end = max(math.floor(first), 0), min(math.ceil(last), mapping.source)
    # At the far edge of the image up to factor - 1 pixels drop out.
    count = min(math.ceil((end - begin) / factor), mapping.source // factor)
    begin = min(begin, mapping.source - count * factor)
    return Part(begin, count, mapping.length, 0, 0.0)


def _warp_row(mapping: AxisMapping, part: Part, factor: int) -> tuple[float, float]:
    """(factor, term) from centres of result pixels to those of the halved part's."""
    scale = mapping.scale / factor
    corner = mapping.offset * scale - part.begin / factor
    return scale, corner + scale / 2 - 0.5


class HalvingResize:
    """A method with all its buffers, for one thread."""

    def __init__(self, method: HalvingMethod) -> None:
        rows, columns = method.rows, method.columns
        factor = 2**method.halvings
        self._part = tuple(
            slice(part.begin, part.begin + part.count * factor) for part in (rows, columns)
        )
        self._halves = [
            np.empty((rows.count * factor >> n, columns.count * factor >> n, 3), np.uint8)
            for n in range(1, method.halvings + 1)
        ]
        self._method = method
        self._out = np.empty((rows.length, columns.length, 3), np.uint8)
        height, width = method.size
        skip = rows.skip, columns.skip
        self._window = slice(skip[0], skip[0] + height), slice(skip[1], skip[1] + width)

    def __call__(self, image: Bytes) -> Bytes:
        """Resample uint8 (H, W, 3); the answer is a view of a buffer, or of `image`."""
        image = image[self._part]
        for half in self._halves:
            cv2.resize(image, half.shape[1::-1], half, interpolation=cv2.INTER_AREA)
            image = half
        method, size = self._method, self._out.shape[1::-1]
        if method.warp is not None:
            cv2.warpAffine(
                image,
                method.warp,
                size,
                self._out,
                method.interpolation | cv2.WARP_INVERSE_MAP,
                cv2.BORDER_REPLICATE,
            )
            image = self._out
        elif image.shape != self._out.shape:
            cv2.resize(image, size, self._out, interpolation=method.interpolation)
            image = self._out
        return image[self._window]
