"""Masks as COCO run lengths, in the compressed text that COCO's own tools read and write.

Runs go down the columns and alternate between background and object, background first (its first
run may be 0). A run is written as its difference to the run two before it, in groups of five bits,
low bits first, as the characters from `0` on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import InputError

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
        (encoded,) = rles_from_edges([edges], size)
        return encoded

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


def rles_from_edges(edges: Sequence[NDArray[np.integer]], size: tuple[int, int]) -> tuple[RLE, ...]:
    """Encode masks of one size all at once; see `RLE.from_edges`.

    Args:
        edges: int (n,) for each mask, as `RLE.from_edges` takes them.
        size: (height, width) of the masks.
    """
    # All masks' edges in one array, each between 0 and the end: one difference gives all counts.
    borders: list[NDArray[np.integer]] = [np.zeros(1, np.int64)]
    for places in edges:
        borders += [places, np.array([size[0] * size[1], 0])]
    counts = np.diff(np.concatenate(borders))[:-1]
    lengths = np.array([len(places) + 1 for places in edges], np.int64)
    ends = np.cumsum(lengths + 1) - 1  # of each mask's counts; one from it to the next follows
    is_count = np.ones(len(counts), bool)
    is_count[ends[:-1]] = False
    is_empty = counts[ends - 1] == 0 if len(ends) else np.zeros(0, bool)  # the last run
    is_count[ends[is_empty] - 1] = False
    texts = _compress(counts[is_count], lengths - is_empty)
    return tuple([RLE(size, text) for text in texts])


def _compress(counts: NDArray[np.integer], lengths: NDArray[np.int64]) -> list[str]:
    """Write the run lengths of several masks, one after the other; `lengths` of them each.

    Source:
        COCO API `maskApi.c`, `rleToString`.
    """
    starts = np.cumsum(lengths) - lengths
    values = np.array(counts, np.int64)
    # From a mask's fourth count on, COCO writes the difference to the one two places before, which
    # is small: the runs of neighbouring columns are alike.
    is_difference = np.arange(len(values)) - np.repeat(starts, lengths) > 2
    is_difference[:2] = False
    values[2:] -= np.where(is_difference[2:], counts[:-2], 0)
    groups = _groups_of(values)
    places = np.cumsum(groups) - groups
    text = np.empty(groups.sum(), np.uint8)
    waiting = np.arange(len(values))  # numbers with groups left; after the first one, few
    for group in range(MAX_GROUPS):
        has_more = groups[waiting] > group + 1
        digits = (values[waiting] >> GROUP_BITS * group) & (MORE - 1)
        text[places[waiting] + group] = digits + np.where(has_more, MORE, 0) + FIRST_CHARACTER
        waiting = waiting[has_more]
        if not len(waiting):
            break
    written = str(text.tobytes(), "ascii")
    borders = np.append(places, len(text))[np.append(starts, len(values))].tolist()
    return [written[start:end] for start, end in pairwise(borders)]


def _groups_of(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many groups of bits numbers take: one more for every five beyond the sign's."""
    magnitudes = np.where(values < 0, ~values, values)
    groups = np.ones(len(values), np.int64)
    longer = np.flatnonzero(magnitudes >> GROUP_BITS - 1)
    while len(longer):
        groups[longer] += 1
        longer = longer[magnitudes[longer] >> GROUP_BITS * groups[longer] - 1 != 0]
    return groups


def decompress_counts(text: str) -> NDArray[np.int64]:
    """Read run lengths from COCO's text.

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
