"""The exact resampler's banded products against a plain twin: a weight for each pair of pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevit.core.image.axis import AxisMapping
from edgevit.core.image.resample_exact import banded_method

INTERPOLATIONS = ("bicubic", "bilinear", "lanczos", "box")
UNIT = 2**22


def bicubic(x):
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2


def lanczos(x):
    if x == 0:
        return 1
    return 3 * math.sin(math.pi * x) * math.sin(math.pi * x / 3) / (math.pi * x) ** 2


KERNELS = {  # name: (half width, the kernel of distances below it)
    "bicubic": (2, bicubic),
    "bilinear": (1, lambda x: 1 - x),
    "lanczos": (3, lanczos),
    "box": (0.5, lambda x: 1),
}


def plain_weights(mapping, interpolation):
    """The plain twin of an axis: int (length, source), what each source pixel adds to each output.

    In units of 1 / `UNIT`. An output's weights follow the kernel, stretched where the image shrinks
    and centred where the output's centre lies, and add up to one.
    """
    support, kernel = KERNELS[interpolation]
    stretch = max(mapping.scale, 1)
    matrix = np.zeros((mapping.length, mapping.source), int)
    for output in range(mapping.length):
        centre = (mapping.offset + output + 0.5) * mapping.scale
        first = max(0, math.floor(centre - support * stretch + 0.5))
        end = min(mapping.source, math.floor(centre + support * stretch + 0.5))
        distances = [abs(pixel + 0.5 - centre) / stretch for pixel in range(first, end)]
        weights = [kernel(x) if x <= support else 0 for x in distances]
        for pixel, weight in enumerate(weights, first):
            share = weight / sum(weights)
            matrix[output, pixel] = math.floor(abs(share) * UNIT + 0.5) * (1 if share >= 0 else -1)
    return matrix


def plain_pass(lines, weights):
    """Each output line is the weighted sum of all source lines, rounded half up, within 0..255."""
    result = np.zeros((len(weights), *lines.shape[1:]), np.uint8)
    for output in range(len(weights)):
        total = np.zeros(lines.shape[1:], int)
        for pixel in range(len(lines)):
            total += weights[output, pixel] * lines[pixel].astype(int)
        result[output] = np.clip((total + UNIT // 2) // UNIT, 0, 255)
    return result


def dense(axis, source):
    """The weights of an axis as `plain_weights` has them, read back from its groups and bands."""
    if axis.is_copy:
        return np.eye(source)[axis.begin : axis.end] * UNIT
    _, bands, outputs, _ = axis.weights.shape
    matrix = np.zeros((axis.length, source))
    for group, band, output, tap in np.argwhere(axis.weights):
        pixel = axis.start + group * axis.steps[0] + band * axis.steps[1] + tap
        assert axis.begin <= pixel < axis.end
        matrix[(group * bands + band) * outputs + output, pixel] = (
            axis.weights[group, band, output, tap] * UNIT
        )
    return matrix


@st.composite
def mappings(draw, longest=150):
    """An axis of any length, resized to any length, of which any part is wanted.

    Lengths reach far enough for several groups of several bands.
    """
    source, resized = draw(st.integers(1, longest)), draw(st.integers(1, longest))
    offset = draw(st.integers(0, resized - 1))
    return AxisMapping(source, resized, offset, draw(st.integers(1, resized - offset)))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@settings(max_examples=60, derandomize=True)
@given(mappings())
def test_bands_hold_the_weight_of_every_pixel_and_no_other(interpolation, mapping) -> None:
    axis = banded_method(mapping, mapping, interpolation).rows
    error = np.abs(dense(axis, mapping.source) - plain_weights(mapping, interpolation))
    assert error.max() < (1 if interpolation == "bicubic" else 1e-4)  # bicubic's are float32


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@settings(max_examples=60, derandomize=True)
@given(mappings(25), mappings(25), st.integers(0, 2**32 - 1))
def test_images_are_resampled_as_pixel_by_pixel(interpolation, rows, columns, seed) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (rows.source, columns.source, 3), np.uint8)
    method = banded_method(rows, columns, interpolation)
    down, across = plain_weights(rows, interpolation), plain_weights(columns, interpolation)
    expected = image
    for is_vertical in (method.rows_first, not method.rows_first):
        if is_vertical:
            expected = plain_pass(expected, down)
        else:
            expected = plain_pass(expected.swapaxes(0, 1), across).swapaxes(0, 1)
    found = method.prepare()(image)
    assert found.shape == expected.shape
    off_by = np.abs(found.astype(int) - expected).max()
    assert off_by <= (1 if interpolation == "bicubic" else 0)  # bicubic is computed in float32
