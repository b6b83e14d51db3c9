"""One axis of a resize, and the part of its result that is wanted."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AxisMapping:
    """Outputs `offset` to `offset + length` of resizing `source` to `resized` pixels.

    Args:
        source: pixels of the whole axis of the image.
        resized: pixels of the whole result.
        offset: first wanted pixel of the result.
        length: number of wanted pixels.
    """

    source: int
    resized: int
    offset: int
    length: int

    @property
    def scale(self) -> float:
        """Source pixels per output."""
        return self.source / self.resized
