"""Pillow's antialiased resampling, as banded matrix products.

Each output pixel of an antialiased resize is a weighted sum of a run of source pixels. As a matrix
of outputs x source pixels, an axis is zero but for a band along its diagonal, and multiplying by it
whole would mostly add up zeros. So the matrix is cut into blocks that one batched product of a
BLAS can take:

1. Take a few outputs in a row, 4 to 16, and call them a band. Their runs overlap; over the union of
   the runs, their weights make a small dense block.
2. A batched product reads its blocks at equal distances. Bands are outputs x scale source pixels
   apart, the pitch, which is seldom whole. Steps of the rounded pitch drift away from it, and
   blocks need to be wider to hold their runs in spite of that.
3. So there are two steps. Some bands, each the rounded pitch after the one before, make a group,
   and the next group begins a rounded multiple of the pitch after it. The number of bands in a
   group is the one for which the drifts within groups and from group to group are least together.
4. Blocks are as wide as the run that has drifted furthest needs; weights outside a run are zero.
5. Bands of 4, 8, 12 and 16 outputs are laid out so, and the layout whose product is cheapest wins.

The result of the first pass is rounded and clipped to 0..255 before the second, as in Pillow. The
passes do not commute where a kernel with negative lobes overshoots, so their order is Pillow's too.

`plain_weights` and `plain_pass` in `tests/core/image/test_resample_exact.py` do the same with a
weight for each pair of pixels, and the tests compare the two on random axes and images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgevit.core.image.axis import AxisMapping

Bytes = NDArray[np.uint8]
Indices = NDArray[np.int64]
Precision = type[np.float32] | type[np.float64]
Kernel = Callable[[NDArray[np.float64]], NDArray[np.float64]]

# Floats resampled at a time: enough to keep calls few, and with their results in the second-level
# cache of a core.
_STRIP_FLOATS = 128_000
_UNIT = 2**22  # Pillow's weights are whole multiples of 1 / _UNIT
_TIES_UP = {np.float32: 1 + 2**-23, np.float64: 1 + 2**-40}  # OpenCV rounds ties to even


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _bilinear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(x) < 1, 1 - np.abs(x), 0)


def _lanczos(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


def _box(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return ((x > -0.5) & (x <= 0.5)).astype(np.float64)


KERNELS: dict[str, tuple[float, Kernel]] = {  # name: (half width in output pixels, kernel)
    "bicubic": (2.0, _bicubic),
    "bilinear": (1.0, _bilinear),
    "lanczos": (3.0, _lanczos),
    "box": (0.5, _box),
}


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """How one axis of the result is made from one axis of the source.

    The result comes in bands of a few pixels, and the bands in groups: pixel
    `(group * bands + band) * outputs + i` is the product of `weights[group, band, i]` with the
    source pixels from `start + group * steps[0] + band * steps[1]` on. Two levels keep the bands
    close to where a fractional scale wants them. Bands may reach past the source on either side,
    and the last ones past `length`; weights are zero there.

    Args:
        begin: first source pixel that has a weight.
        end: one past the last source pixel that has a weight.
        length: number of result pixels.
        start: source pixel of the first weight; at most `begin`, and may be negative.
        steps: source pixels from one group to the next, and from one band to the next.
        weights: float32, or float64 to compute in it, (groups, bands, outputs, taps);
            empty where the result is a copy of the source.
    """

    begin: int
    end: int
    length: int
    start: int
    steps: tuple[int, int]
    weights: NDArray[np.float32 | np.float64]

    @property
    def is_copy(self) -> bool:
        """Whether the result is the source pixels from `begin` to `end` themselves."""
        return self.weights.size == 0


@dataclass(frozen=True, slots=True, eq=False)
class BandedMethod:
    """Both axes of an exact resize.

    Args:
        rows_first: whether the vertical pass is the first.
        rows: the vertical axis.
        columns: the horizontal axis.
    """

    rows_first: bool
    rows: Axis
    columns: Axis

    def prepare(self) -> BandedResize:
        """Make what resamples, with buffers of its own that only one thread may use at a time."""
        return BandedResize(self)


def banded_method(rows: AxisMapping, columns: AxisMapping, interpolation: str) -> BandedMethod:
    """Work out the weights of an exact resize.

    Args:
        rows: what the vertical axis maps.
        columns: what the horizontal axis maps.
        interpolation: a key of `KERNELS`.
    """
    # Pillow 13's rule; earlier ones always begin with the horizontal pass.
    rows_first = rows.source - rows.resized > max(0, 2 * (columns.source - columns.resized))
    # In double precision every pixel is Pillow's. Bicubic, which the models use, is worth the speed
    # of single precision: one pixel in 10^4 is off by one, and one in 10^8 by two.
    precision: Precision = np.float32 if interpolation == "bicubic" else np.float64
    vertical, horizontal = (_axis(axis, interpolation, precision) for axis in (rows, columns))
    return BandedMethod(rows_first, vertical, horizontal)


def _axis(mapping: AxisMapping, interpolation: str, precision: Precision) -> Axis:
    begin, length = mapping.offset, mapping.length
    if mapping.scale == 1:
        nothing = np.empty((0, 0, 0, 0), precision)
        return Axis(begin, begin + length, length, begin, (0, 0), nothing)
    first, weights = _runs(mapping, interpolation)
    taps = weights.shape[1]
    layouts = [_layout(first, taps, mapping.scale, outputs) for outputs in (4, 8, 12, 16)]
    layout = min(layouts, key=lambda layout: layout.cost)
    _, bands, outputs, reach = layout.shape
    index = np.arange(length)
    head = first - layout.start - _heads(layout.steps, bands, length)[index // outputs]
    table = np.zeros(layout.shape, precision)
    places = index[:, None], head[:, None] + np.arange(taps)
    table.reshape(-1, reach)[places] = weights * _TIES_UP[precision]
    begin, end = max(int(first[0]), 0), min(int(first[-1]) + taps, mapping.source)
    return Axis(begin, end, length, layout.start, layout.steps, table)


def _runs(mapping: AxisMapping, interpolation: str) -> tuple[Indices, NDArray[np.float64]]:
    """The first source pixel of every output, and float64 (outputs, taps) weights from there on."""
    support, kernel = KERNELS[interpolation]
    stretch = max(mapping.scale, 1.0)
    outputs = mapping.offset + np.arange(mapping.length)
    centres = (outputs + 0.5) * mapping.scale
    first = np.floor(centres - support * stretch + 0.5).astype(np.int64)
    last = np.floor(centres + support * stretch + 0.5).astype(np.int64)
    # Runs vary in length by a pixel: all get the longest one's, and weights beyond `last` are zero.
    pixels = first[:, None] + np.arange((last - first).max())
    weights = kernel((pixels - centres[:, None] + 0.5) / stretch)
    weights[(pixels < 0) | (pixels >= np.minimum(last, mapping.source)[:, None])] = 0
    weights /= weights.sum(1, keepdims=True)
    return first, np.trunc(weights * _UNIT + np.copysign(0.5, weights)) / _UNIT


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the bands of an axis lie; the fields are those of `Axis`."""

    start: int
    steps: tuple[int, int]
    shape: tuple[int, int, int, int]

    @property
    def cost(self) -> int:
        """Relative time of the product; a fit to OpenBLAS."""
        groups, bands, outputs, taps = self.shape
        return groups * bands * (outputs * taps + 40)


def _layout(first: Indices, taps: int, scale: float, outputs: int) -> _Layout:
    """Lay bands over an axis; steps 2 to 4 of the module's text.

    Args:
        first: int64 (length,), ascending, the source pixel at which the run of each output begins.
        taps: length of every run.
        scale: source pixels per output.
        outputs: outputs in a band; the last band may have fewer.
    """
    begins = first[::outputs]
    ends = first[np.minimum(np.arange(1, len(begins) + 1) * outputs, len(first)) - 1] + taps
    pitch = outputs * scale
    sizes = np.arange(1, len(begins) + 1)  # candidates for the number of bands in a group
    drift = sizes * abs(pitch - round(pitch))
    drift += len(begins) / sizes * np.abs(sizes * pitch - np.round(sizes * pitch))
    bands = int(sizes[drift.argmin()])
    steps = round(bands * pitch), round(pitch)
    heads = _heads(steps, bands, len(begins))
    start = int((begins - heads).min())
    reach = int((ends - heads).max()) - start
    return _Layout(start, steps, (-(-len(begins) // bands), bands, outputs, reach))


def _heads(steps: tuple[int, int], bands: int, count: int) -> Indices:
    """How far each of the first `count` bands is from the first one, in source pixels, int64."""
    group, band = np.divmod(np.arange(count), bands)
    heads: Indices = group * steps[0] + band * steps[1]
    return heads


class _Pass:
    """One axis applied down the columns of strips `width` wide, with the buffers for it."""

    def __init__(self, axis: Axis, width: int) -> None:
        groups, bands, outputs, taps = axis.weights.shape
        group_step, step = axis.steps
        head, tail = axis.begin - axis.start, axis.end - axis.start
        reach = (groups - 1) * group_step + (bands - 1) * step + taps
        precision = axis.weights.dtype
        floats = np.zeros((max(reach, tail), width), precision)
        row, column = floats.strides
        self._source = floats[head:tail]  # what is around it stays zero, for bands that reach there
        # Overlapping views of the same floats: no run is copied.
        self._runs = np.ndarray(
            (groups, bands, taps, width),
            precision,
            floats,
            strides=(group_step * row, step * row, row, column),
        )
        self._weights = axis.weights
        self._products = np.empty((groups, bands, outputs, width), precision)
        self._sums = self._products.reshape(-1, width)[: axis.length]

    def __call__(self, lines: Bytes, out: Bytes) -> None:
        """Resample uint8 (end - begin, width) `lines` into uint8 (length, width) `out`."""
        np.copyto(self._source, lines)
        np.matmul(self._weights, self._runs, out=self._products)
        if self._sums.dtype == np.float64:
            np.rint(self._sums, out=self._sums)  # convertScaleAbs would round it to float32 first
        cv2.threshold(self._sums, 0, 0, cv2.THRESH_TOZERO, self._sums)
        cv2.convertScaleAbs(self._sums, out)  # rounds, and saturates at 255


class _Horizontal:
    """The horizontal pass: strips of rows are transposed, resampled and transposed back."""

    def __init__(self, height: int, columns: Axis) -> None:
        width = columns.end - columns.begin
        self._strips = _strips(height, 3 * width)
        strip = self._strips[0].stop
        self._pass = _Pass(columns, 3 * strip)
        self._pixels = np.empty((width * 3, strip), np.uint8)
        self._resized = np.empty((columns.length * 3, strip), np.uint8)
        self._out = np.empty((height, columns.length * 3), np.uint8)

    def __call__(self, image: Bytes) -> Bytes:
        lines = self._pixels.reshape(image.shape[1], -1)
        resized = self._resized.reshape(-1, lines.shape[1])
        for strip in self._strips:
            rows = image[strip]
            cv2.transpose(rows.reshape(rows.shape[0], -1), self._pixels)
            self._pass(lines, resized)
            cv2.transpose(self._resized, self._out[strip])
        return self._out.reshape(image.shape[0], -1, 3)


class _Vertical:
    """The vertical pass: strips of columns are resampled."""

    def __init__(self, rows: Axis, width: int) -> None:
        self._strips = _strips(width * 3, rows.end - rows.begin)
        self._pass = _Pass(rows, self._strips[0].stop)
        self._out = np.empty((rows.length, width * 3), np.uint8)

    def __call__(self, image: Bytes) -> Bytes:
        lines = image.reshape(image.shape[0], -1)
        for strip in self._strips:
            self._pass(lines[:, strip], self._out[:, strip])
        return self._out.reshape(-1, *image.shape[1:])


def _strips(count: int, floats: int) -> list[slice]:
    """Equal strips that cover `count` lines of `floats` numbers each; the last ones may overlap."""
    wanted = math.ceil(count * floats / _STRIP_FLOATS)
    size = min(math.ceil(count / wanted / 16) * 16, count)
    starts = (min(start, count - size) for start in range(0, count, size))
    return [slice(start, start + size) for start in starts]


class BandedResize:
    """The passes of one method with all their buffers, for one thread."""

    def __init__(self, method: BandedMethod) -> None:
        rows, columns = method.rows, method.columns
        self._crop = slice(rows.begin, rows.end), slice(columns.begin, columns.end)
        self._passes: list[_Horizontal | _Vertical] = []
        if not columns.is_copy:
            height = rows.length if method.rows_first else rows.end - rows.begin
            self._passes.append(_Horizontal(height, columns))
        if not rows.is_copy:
            width = columns.end - columns.begin if method.rows_first else columns.length
            self._passes.append(_Vertical(rows, width))
        if method.rows_first:
            self._passes.reverse()

    def __call__(self, image: Bytes) -> Bytes:
        """Resample uint8 (H, W, 3); the answer is a view of a buffer, or of `image`."""
        image = image[self._crop]
        for resample_axis in self._passes:
            image = resample_axis(image)
        return image
