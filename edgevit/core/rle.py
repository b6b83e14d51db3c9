"""Masks as COCO run lengths, in the compressed text that COCO's own tools read and write.

Runs go down the columns and alternate between background and object, background first (its first
run may be 0). A run is written as its difference to the run two before it, in groups of five bits,
low bits first, as the characters from `0` on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevit.core.errors import InputError

GROUP_BITS = 5
MORE = 1 << GROUP_BITS  # set in all groups of a number but the last
FIRST_CHARACTER = ord("0")
MAX_GROUPS = 13  # of a 64-bit number


@dataclass(frozen=True, slots=True)
class RLE:
    """One mask as run lengths.

    Args:
        size: (height, width) of the mask in pixels.
        counts: COCO's compressed runs.
    """

    size: tuple[int, int]
    counts: str

    def to_dict(self) -> dict[str, Any]:
        """Describe as COCO does: `{"size": [height, width], "counts": text}`."""
        return {"size": list(self.size), "counts": self.counts}

    @classmethod
    def from_mask(cls, mask: NDArray[np.bool_]) -> RLE:
        """Encode a mask.

        Args:
            mask: bool (H, W).

        Example:
            >>> RLE.from_mask(np.eye(3, dtype=bool)).to_dict()
            {'size': [3, 3], 'counts': '013000'}
        """
        height, width = mask.shape
        flat = np.asarray(mask, bool).T.reshape(-1)
        edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        if flat[:1].any():
            edges = np.concatenate([[0], edges])
        return cls.from_edges(edges, (height, width))

    @classmethod
    def from_edges(cls, edges: NDArray[np.integer], size: tuple[int, int]) -> RLE:
        """Encode a mask that is given by where it changes.

        Args:
            edges: (E,), rising; places in the column-major mask where object begins and, in turn,
                ends. The last end may be left out where the mask ends with the object.
            size: (height, width) of the mask.
        """
        counts = np.diff(edges, prepend=0, append=size[0] * size[1])
        return cls(size, compress_counts(counts if counts[-1] else counts[:-1]))

    def to_mask(self) -> NDArray[np.bool_]:
        """Decode to bool (H, W), in Fortran order.

        Raises:
            InputError: if the runs do not fill the mask exactly.
        """
        height, width = self.size
        counts = decompress_counts(self.counts)
        if (counts < 0).any() or counts.sum() != height * width:
            raise InputError(
                f"the runs of an RLE of size {self.size} must fill {height * width} pixels, "
                f"not {counts.sum()}"
            )
        colours = np.arange(len(counts)) % 2 == 1
        return np.repeat(colours, counts).reshape(width, height).T

    @property
    def area(self) -> int:
        """Number of pixels of the object."""
        return int(decompress_counts(self.counts)[1::2].sum())


def compress_counts(counts: NDArray[np.integer]) -> str:
    """Write run lengths as COCO's text.

    Args:
        counts: (R,), background first.

    Source:
        COCO API `maskApi.c`, `rleToString`.

    Example:
        >>> compress_counts(np.array([6, 1, 40, 4, 5, 4, 5, 4, 21]))
        '61X13mN000`0'
    """
    values = np.array(counts, np.int64)
    values[3:] -= np.asarray(counts, np.int64)[1:-2]
    # A number needs a group more for every five bits beyond its sign: x and ~x alike.
    magnitudes = np.where(values < 0, ~values, values)
    groups = 1
    while (magnitudes >> (GROUP_BITS * groups - 1)).any():
        groups += 1
    shifts = GROUP_BITS * np.arange(groups)
    digits = (values[:, None] >> shifts) & (MORE - 1)
    is_last = (magnitudes[:, None] >> (shifts + GROUP_BITS - 1)) == 0
    digits += np.where(is_last, 0, MORE) + FIRST_CHARACTER
    is_written = np.ones_like(is_last)
    is_written[:, 1:] = ~is_last[:, :-1]
    return str(digits[is_written].astype(np.uint8).tobytes(), "ascii")


def decompress_counts(text: str) -> NDArray[np.int64]:
    """Read run lengths from COCO's text; inverse of `compress_counts`.

    Raises:
        InputError: if it is not such a text.

    Source:
        COCO API `maskApi.c`, `rleFrString`.

    Example:
        >>> decompress_counts("013000").tolist()
        [0, 1, 3, 1, 3, 1]
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        digit = ord(character) - FIRST_CHARACTER
        if not 0 <= digit < 2 * MORE or shift >= GROUP_BITS * MAX_GROUPS:
            raise InputError(f"{text[:20]!r} is not a compressed RLE: see {character!r}")
        value |= (digit & (MORE - 1)) << shift
        shift += GROUP_BITS
        if digit & MORE:
            continue
        if digit & (MORE >> 1):
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise InputError(f"{text[-20:]!r} ends in the middle of a number")
    return np.array(counts, np.int64)
