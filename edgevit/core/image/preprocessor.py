"""From any image to the network's input, by a spec's rule.

The resize rules are worked out as a *virtual* resize of the whole image and a window of it, so that
only what the network sees is ever resampled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgevit.core.image.geometry import Geometry
from edgevit.core.image.load import load_image
from edgevit.core.image.normalize import Normalization, normalize_into
from edgevit.core.image.resample import ResamplePlan, Size, resample_plan, resample_planes
from edgevit.core.model.spec import COLOR_ORDERS, PREPROCESS_MODES, Color, InputSpec, Mode
from edgevit.errors import InputError

if TYPE_CHECKING:
    from edgevit.core.image.load import ImageSource

Choice = TypeVar("Choice", bound=str)


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a virtual resize.

    Args:
        resized: (height, width) that the whole image would be resized to.
        top: first row of the part.
        left: first column of the part.
        size: (height, width) of the part.
    """

    resized: Size
    top: int
    left: int
    size: Size


def shorter_side_crop(source: Size, size: Size, crop_pct: float) -> Window:
    """Scale the shorter side to `int(size / crop_pct)`, keep the aspect ratio, crop the center.

    Args:
        source: image (height, width).
        size: crop (height, width).
        crop_pct: share of the scaled shorter side that the crop keeps.

    Returns:
        The crop's window. Rounding follows torchvision's Resize and CenterCrop.

    Source:
        torchvision `transforms.functional` `_compute_resized_output_size`, `center_crop`.

    Example:
        >>> shorter_side_crop((1080, 1920), (224, 224), 0.875)
        Window(resized=(256, 455), top=16, left=116, size=(224, 224))
    """
    goal = [int(side / crop_pct) for side in size]
    # The axis that needs the larger scale gets its goal exactly; for a square, the shorter one.
    axis = 0 if goal[0] * source[1] >= goal[1] * source[0] else 1
    resized = [goal[axis] * side // source[axis] for side in source]
    top, left = (round((whole - part) / 2) for whole, part in zip(resized, size, strict=True))
    return Window((resized[0], resized[1]), top, left, size)


def letterbox(source: Size, size: Size) -> Window:
    """Scale to fit inside `size` and keep the aspect ratio.

    Args:
        source: image (height, width).
        size: frame (height, width).

    Returns:
        The whole resized image, to be placed in the frame's upper left.
    """
    scale = min(frame / side for frame, side in zip(size, source, strict=True))
    height, width = (max(1, round(side * scale)) for side in source)
    return Window((height, width), 0, 0, (height, width))


def window_of(source: Size, spec: InputSpec) -> Window:
    """Work out what the network sees of an image.

    Args:
        source: image (height, width).
        spec: how the image becomes the network's input.
    """
    if spec.resize == "shorter":
        return shorter_side_crop(source, spec.size, spec.crop_pct)
    if spec.resize == "letterbox":
        return letterbox(source, spec.size)
    return Window(spec.size, 0, 0, spec.size)


def geometry_of(source: Size, window: Window, input_size: Size) -> Geometry:
    """Describe a window that lies in the upper left of the network input.

    Args:
        source: image (height, width).
        window: what the network sees of it.
        input_size: network input (height, width).
    """
    down, across = (side / whole for side, whole in zip(source, window.resized, strict=True))
    height, width = window.size
    box = (
        window.left * across,
        window.top * down,
        (window.left + width) * across,
        (window.top + height) * down,
    )
    return Geometry(source, box, input_size, (0, 0, width, height))


def _plan(spec: InputSpec, mode: Mode, source: Size) -> tuple[ResamplePlan, Geometry]:
    window = window_of(source, spec)
    resampling = resample_plan(
        source,
        window.resized,
        window=(window.top, window.left, *window.size),
        interpolation=spec.interpolation,
        mode=mode,
    )
    return resampling, geometry_of(source, window, spec.size)


class Preprocessor:
    """Turns images into network inputs; safe to share by threads."""

    def __init__(self, spec: InputSpec, *, mode: str | None = None, color: str = "bgr") -> None:
        """Prepare the normalization.

        Args:
            spec: how an image becomes the network's input.
            mode: `exact` or `fast`; None for the spec's.
            color: channel order of arrays, `bgr` or `rgb`.

        Raises:
            InputError: if `mode` or `color` is neither.
        """
        self.spec = spec
        self.mode: Mode = _choice("preprocess", mode or spec.preprocess, PREPROCESS_MODES)
        self.color: Color = _choice("color", color, COLOR_ORDERS)
        self._normalizations = {
            order: Normalization.from_mean_std(
                spec.mean, spec.std, swap_channels=order != spec.color_order
            )
            for order in COLOR_ORDERS
        }
        self._pad_color = (spec.pad_value,) * 3
        # A camera repeats one geometry, so its weights are made once.
        self._plan_for = lru_cache(maxsize=64)(partial(_plan, spec, self.mode))

    def __call__(self, image: ImageSource, out: NDArray[np.float32]) -> Geometry:
        """Write one image into a batch.

        Args:
            image: what `load_image` takes.
            out: float32 (3, height, width), one place of the batch; overwritten.

        Returns:
            The Geometry that maps pixels of `out` to the image.

        Raises:
            InputError: if the image cannot be used.
        """
        loaded = load_image(image, color=self.color, pad_color=self._pad_color)
        height, width = loaded.pixels.shape[:2]
        plan, geometry = self._plan_for((height, width))
        normalization = self._normalizations[loaded.color]
        bottom, right = geometry.filled_size
        if (bottom, right) != self.spec.size:
            # As a pixel of that value would be normalized.
            pad = np.multiply(self.spec.pad_value, normalization.scale) + normalization.offset
            out[:] = pad[:, None, None]
        planes = resample_planes(loaded.pixels, plan)
        normalize_into(planes, normalization, out[:, :bottom, :right])
        return geometry


def _choice(name: str, value: str, choices: Iterable[Choice]) -> Choice:
    for choice in choices:
        if value == choice:
            return choice
    raise InputError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
