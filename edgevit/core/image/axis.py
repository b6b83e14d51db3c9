"""One axis of a resize, and the part of its result that is wanted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AxisMapping:
    """Outputs `offset` to `offset + length` of resizing `low`..`high` to `resized` pixels.

    Args:
        source: pixels of the whole axis of the image.
        low: where the resized part begins, in source pixels, possibly fractional.
        high: where the resized part ends, in source pixels, possibly fractional.
        resized: pixels of the whole result.
        offset: first wanted pixel of the result.
        length: number of wanted pixels.
    """

    source: int
    low: float
    high: float
    resized: int
    offset: int
    length: int

    @property
    def scale(self) -> float:
        """Source pixels per output."""
        return (self.high - self.low) / self.resized
