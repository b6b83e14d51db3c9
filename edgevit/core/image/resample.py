"""Resampling of whole images or windows of them: Pillow's antialiased filters, or a fast likeness.

Example:
    >>> image = np.full((480, 640, 3), 7, np.uint8)
    >>> plan = resample_plan((480, 640), (256, 341), window=(16, 58, 224, 224))
    >>> resample(image, plan).shape
    (224, 224, 3)
"""

import threading
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from edgevit.core.image.axis import AxisMapping
from edgevit.core.image.resample_exact import KERNELS, BandedMethod, banded_method
from edgevit.core.image.resample_fast import HalvingMethod, halving_method
from edgevit.errors import InputError, suggestion

Mode = Literal["exact", "fast"]
Size = tuple[int, int]
Window = tuple[int, int, int, int]
Bytes = NDArray[np.uint8]

_WORKSPACES = 4  # geometries whose buffers a thread keeps


@dataclass(frozen=True, slots=True, eq=False)
class ResamplePlan:
    """How images of one size are resampled; made by `resample_plan`.

    Args:
        source_size: (height, width) of the images in pixels.
        size: (height, width) of the result in pixels.
        method: what computes it.
    """

    source_size: Size
    size: Size
    method: BandedMethod | HalvingMethod


def resample_plan(
    source_size: Size,
    resized_size: Size,
    *,
    window: Window | None = None,
    interpolation: str = "bicubic",
    mode: Mode = "exact",
) -> ResamplePlan:
    """Prepare to resize images of one size to `resized_size` and keep a window of the result.

    Pixels outside the window are never computed, and those inside it are exactly those of the full
    resize. Plans are cached, so a stream of equal frames makes its plan once.

    Args:
        source_size: (height, width) of the images in pixels.
        resized_size: (height, width) of the full resize in pixels.
        window: (top, left, height, width) of the pixels of the full resize to compute; by default
            all of them.
        interpolation: "bicubic" (a = -0.5), "bilinear", "lanczos" (3 lobes) or "box".
        mode: "exact" for Pillow's result to within 1/255; "fast" for OpenCV's: blocks of 2 x 2
            pixels averaged as often as the image stays at least as large as the resized one, then
            its linear interpolation, or an enlargement by the one named. Where the axes' scales
            differ by more than a factor of two, "fast" is "exact".

    Raises:
        InputError: if a size is not positive, the window is not inside the full resize, or a name
            is unknown.
    """
    window = window or (0, 0, *resized_size)
    _require(min(source_size) > 0, "source_size", source_size, "a positive (height, width)")
    _require(min(resized_size) > 0, "resized_size", resized_size, "a positive (height, width)")
    _require_known("interpolation", interpolation, KERNELS)
    _require_known("mode", mode, get_args(Mode))
    rows = AxisMapping(source_size[0], resized_size[0], window[0], window[2])
    columns = AxisMapping(source_size[1], resized_size[1], window[1], window[3])
    for axis in (rows, columns):
        inside = 0 <= axis.offset < axis.offset + axis.length <= axis.resized
        _require(inside, "window", window, f"(top, left, height, width) inside {resized_size}")
    return _plan(rows, columns, interpolation, mode)


def _require(condition: bool, name: str, value: object, accepted: str) -> None:
    if not condition:
        raise InputError(f"{name} {value!r} is not {accepted}")


def _require_known(name: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        listed = ", ".join(map(repr, known))
        raise InputError(f"{name} {value!r} is unknown{suggestion(value, known)}; known: {listed}")


@lru_cache(maxsize=32)
def _plan(rows: AxisMapping, columns: AxisMapping, interpolation: str, mode: str) -> ResamplePlan:
    fast = halving_method(rows, columns, interpolation) if mode == "fast" else None
    method = fast or banded_method(rows, columns, interpolation)
    return ResamplePlan((rows.source, columns.source), (rows.length, columns.length), method)


class _Workspace:
    """The buffers of one plan, for one thread."""

    def __init__(self, plan: ResamplePlan) -> None:
        self.resample = plan.method.prepare()
        self._planes = [np.empty(plan.size, np.uint8) for _ in range(3)]

    def planes(self, image: Bytes) -> list[Bytes]:
        """The result as three uint8 (height, width) planes, in buffers."""
        cv2.split(self.resample(image), self._planes)
        return self._planes


class _Thread(threading.local):
    """Each thread's workspaces, the one used last at the end."""

    def __init__(self) -> None:
        self.workspaces: dict[ResamplePlan, _Workspace] = {}


_thread = _Thread()


def _workspace(plan: ResamplePlan) -> _Workspace:
    """This thread's workspace for `plan`, among the `_WORKSPACES` that it used last."""
    kept = _thread.workspaces
    workspace = kept.pop(plan, None) or _Workspace(plan)
    kept[plan] = workspace
    if len(kept) > _WORKSPACES:
        del kept[next(iter(kept))]
    return workspace


def resample(image: Bytes, plan: ResamplePlan) -> Bytes:
    """Resample one image.

    Args:
        image: uint8 (H, W, 3) of the plan's source size, in any memory layout.
        plan: what to compute.

    Returns:
        uint8 (*plan.size, 3), channels in the image's order.

    Raises:
        InputError: if `image` is not uint8 or not of the plan's source size.
    """
    _require_source(image, plan)
    return _workspace(plan).resample(image).copy()


def resample_planes(image: Bytes, plan: ResamplePlan) -> list[Bytes]:
    """Resample one image into planes that are valid until this thread's next resampling.

    Args:
        image: uint8 (H, W, 3) of the plan's source size, in any memory layout.
        plan: what to compute.

    Returns:
        Three borrowed uint8 arrays of shape `plan.size`, in the order of the image's channels.

    Raises:
        InputError: if `image` is not uint8 or not of the plan's source size.
    """
    _require_source(image, plan)
    return _workspace(plan).planes(image)


def _require_source(image: Bytes, plan: ResamplePlan) -> None:
    shape = (*plan.source_size, 3)
    if image.dtype != np.uint8 or image.shape != shape:
        raise InputError(
            f"this plan resamples uint8 images of shape {shape}, not {image.dtype} of shape "
            f"{image.shape}; make a plan for the image's size."
        )
