"""A small image and what a model must answer for it, so that a device can prove itself."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevit.core.records import (
    is_int,
    is_number,
    require,
    require_numbers,
    strict_record,
    with_defaults,
    without_defaults,
)
from edgevit.errors import SpecError

OUTPUT_TOLERANCE = 1e-3  # relative to the largest output; float32 kernels differ by 1e-5

# Keys that a document has only where they are of other values than these.
OPTIONAL = {"tolerance": OUTPUT_TOLERANCE}


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
    values: NDArray[np.float32]

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

    @classmethod
    def from_dict(cls, data: object, where: str) -> Samples:
        """Parse what `to_dict` made; `where` names the place in messages."""
        record = strict_record(data, ("shape", "stride", "values"), where)
        shape, stride = record["shape"], record["stride"]
        require(
            isinstance(shape, list) and all(is_int(side) and side >= 0 for side in shape),
            f"{where}.shape must be a list of whole numbers, not {shape!r}",
        )
        require(is_int(stride) and stride > 0, f"{where}.stride must be positive, not {stride!r}")
        values = np.frombuffer(_unbase64(record["values"], f"{where}.values"), "<f4")
        expected = -(-int(np.prod(shape)) // stride)
        require(
            values.size == expected, f"{where}.values holds {values.size} values, not {expected}"
        )
        return cls(tuple(shape), stride, values.astype(np.float32))


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

    image: NDArray[np.uint8]
    batch: Samples
    outputs: Mapping[str, Samples]
    tolerance: float = OUTPUT_TOLERANCE

    def __post_init__(self) -> None:
        require(
            is_number(self.tolerance) and 0 < self.tolerance < 1,
            f"test_vector.tolerance must be in (0, 1), not {self.tolerance!r}",
        )

    def to_dict(self) -> dict[str, Any]:
        """Describe as JSON values."""
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
        return without_defaults(record, OPTIONAL)

    @classmethod
    def from_dict(cls, data: object) -> TestVector:
        """Parse what `to_dict` made."""
        names = ("image", "batch", "outputs", "tolerance")
        record = strict_record(with_defaults(data, OPTIONAL), names, "test_vector")
        image = strict_record(record["image"], ("size", "bgr"), "test_vector.image")
        size = image["size"]
        require_numbers("test_vector.image.size", size, 2, lambda side: is_int(side) and side > 0)
        pixels = np.frombuffer(_unbase64(image["bgr"], "test_vector.image.bgr"), np.uint8)
        require(
            pixels.size == size[0] * size[1] * 3,
            f"test_vector.image.bgr holds {pixels.size} bytes, not {size[0]} x {size[1]} x 3",
        )
        outputs = record["outputs"]
        require(isinstance(outputs, dict), "test_vector.outputs must be a mapping")
        return cls(
            pixels.reshape(size[0], size[1], 3),
            Samples.from_dict(record["batch"], "test_vector.batch"),
            {
                name: Samples.from_dict(samples, f"test_vector.outputs.{name}")
                for name, samples in outputs.items()
            },
            record["tolerance"],
        )


def _unbase64(text: object, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)  # type: ignore[arg-type]  # not text: below
    except (TypeError, ValueError, binascii.Error) as exc:
        raise SpecError(f"{where} is not base64: {exc}") from exc
