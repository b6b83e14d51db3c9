"""A small image and what a model must answer for it, so that a device can prove itself."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from edgevit.core import records
from edgevit.errors import SpecError

OUTPUT_TOLERANCE = 1e-3  # relative to the largest output; float32 kernels differ by 1e-5
MAX_RANK = 64  # of an array of NumPy


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Every `stride`-th value of an array, to compare arrays without storing them.

    Args:
        shape: of the whole array.
        stride: distance between two kept values in the flattened array (C order).
        values: float32 (ceil(size / stride),).
    """

    shape: tuple[int, ...]
    stride: int
    values: Annotated[NDArray[np.float32], _read_floats]

    def __post_init__(self) -> None:
        is_shape = len(self.shape) <= MAX_RANK and all(side >= 0 for side in self.shape)
        records.require_value(
            "shape", self.shape, is_shape, f"up to {MAX_RANK} whole numbers from 0 up"
        )
        records.require_count("stride", self.stride)
        expected = -(-math.prod(self.shape) // self.stride)
        size = self.values.size
        records.require(
            size == expected, f"values holds {size} values, not {records.shown(expected)}"
        )

    @classmethod
    def of(cls, array: NDArray[np.floating], limit: int = 1024) -> Samples:
        """Sample an array, keeping at most `limit` values."""
        stride = max(1, -(-array.size // limit))
        return cls(array.shape, stride, array.reshape(-1)[::stride].astype(np.float32))

    def error(self, array: NDArray[np.floating]) -> float:
        """Largest absolute difference to another array of the same shape.

        Returns:
            The difference; infinity where the shape differs or a value is not finite.
        """
        if array.shape != self.shape:
            return float("inf")
        difference = np.abs(array.reshape(-1)[:: self.stride].astype(np.float64) - self.values)
        return float(np.max(np.where(np.isfinite(difference), difference, np.inf), initial=0))

    def changed(self, array: NDArray[np.integer]) -> float:
        """Share of the kept values, 0-1, that another array has otherwise; 1 for another shape."""
        if array.shape != self.shape:
            return 1.0
        return float(np.mean(array.reshape(-1)[:: self.stride] != self.values))

    def relative_error(self, array: NDArray[Any]) -> float:
        """How far an array is from this one, as the tolerance of a test vector counts it.

        Returns:
            The largest difference over the largest kept value, or over 1 where that is smaller; of
            class ids, the share that differ, 0-1.
        """
        if array.dtype.kind in "iu":
            return self.changed(array)
        return self.error(array) / max(1.0, float(np.abs(self.values).max(initial=0)))

    def to_dict(self) -> dict[str, Any]:
        """Describe as JSON values; `values` as base64 of little-endian float32."""
        encoded = base64.b64encode(self.values.astype("<f4").tobytes()).decode()
        return {"shape": list(self.shape), "stride": self.stride, "values": encoded}


@dataclass(frozen=True, slots=True, eq=False)
class _Pixels:
    """An image as it is written."""

    size: tuple[int, int]
    bgr: Annotated[NDArray[np.uint8], _read_bytes]

    def __post_init__(self) -> None:
        records.require_numbers("size", self.size, records.is_count, 2)
        expected = math.prod(self.size) * 3
        records.require(
            self.bgr.size == expected,
            f"bgr holds {self.bgr.size} bytes, not {records.shown(expected)}",
        )


@dataclass(frozen=True, slots=True, eq=False)
class TestVector:
    """A small image and what preprocessing and the graph must answer for it.

    Args:
        image: uint8 (H, W, 3), BGR.
        batch: samples of the preprocessed batch, float32 (1, 3, height, width), mode `exact`.
        outputs: samples of each graph output for that batch, by output name.
        tolerance: how far an output may be from these on a device that computes rightly, relative
            to the largest; of class ids, the share that may differ.
    """

    __test__ = False  # not a pytest class

    image: Annotated[NDArray[np.uint8], _read_image]
    batch: Samples
    outputs: Mapping[str, Samples]
    tolerance: float = field(default=OUTPUT_TOLERANCE, metadata=records.OPTIONAL)

    def __post_init__(self) -> None:
        for name in self.outputs:
            records.require_text("outputs", name)
        in_range = records.is_number(self.tolerance) and 0 < self.tolerance < 1
        records.require_value("tolerance", self.tolerance, in_range, "in (0, 1)")

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as plain values that `json.dumps` takes, by name."""
        height, width, _ = self.image.shape
        record = {
            "image": {
                "size": [height, width],
                "bgr": base64.b64encode(self.image.tobytes()).decode(),
            },
            "batch": self.batch.to_dict(),
            "outputs": {name: samples.to_dict() for name, samples in self.outputs.items()},
            "tolerance": self.tolerance,
        }
        return records.without_defaults(TestVector, record)


def _read_image(data: object, where: str) -> NDArray[np.uint8]:
    pixels = records.parse(_Pixels, data, where)
    return pixels.bgr.reshape(*pixels.size, 3)


def _read_floats(text: object, where: str) -> NDArray[np.float32]:
    content = _read_bytes(text, where)
    records.require(
        content.size % 4 == 0, f"{where} holds {content.size} bytes, which are no float32"
    )
    return content.view("<f4").astype(np.float32)


def _read_bytes(text: object, where: str) -> NDArray[np.uint8]:
    try:
        content = base64.b64decode(text, validate=True)  # type: ignore[arg-type]  # see below
    except (TypeError, ValueError, binascii.Error) as exc:  # TypeError: it is no text
        raise SpecError(f"{where} is not base64: {exc}") from exc
    return np.frombuffer(content, np.uint8)
