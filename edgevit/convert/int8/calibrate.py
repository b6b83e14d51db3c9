"""What values activations have on real images, and what range integers shall cover.

Magnitudes are counted in a histogram for each tensor. Three rules make a range of one: `minmax`
keeps the largest value, `percentile` cuts the largest of ten thousand, and `entropy` takes the
range whose 128 levels tell the least less than the histogram (Migacz, "8-bit Inference with
TensorRT", 2017). `edgevit.convert.int8` measures which is best for a model.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgevit.convert.graph import to_proto
from edgevit.convert.int8.graph import Array
from edgevit.convert.session import Feeds, runner

BINS = 2048
LEVELS = 128  # of magnitude, that int8 has
PERCENTILE = 99.99

Counts = NDArray[np.int64]


class Range:
    """The magnitudes of one tensor, and the mean of each channel."""

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.width = 0.0  # of a bin
        self.total: Array | None = None  # sum over everything but channels
        self.seen = 0

    def add(self, values: Array) -> None:
        """Count the values of a map (B, C, ...)."""
        magnitudes = np.abs(values).reshape(-1)
        largest = float(magnitudes.max(initial=0))
        if not self.width:
            self.width = max(largest, 1e-6) / BINS * 1.25
        while largest >= self.width * BINS:
            self._double()
        indices = (magnitudes * (1 / self.width)).astype(np.int32)
        self.counts += np.bincount(np.minimum(indices, BINS - 1), minlength=BINS)
        sums = values.sum(axis=tuple(i for i in range(values.ndim) if i != 1), dtype=np.float64)
        self.total = sums if self.total is None else self.total + sums
        self.seen += values.size // values.shape[1]

    def channel_means(self) -> Array:
        """Mean of each channel, (C,)."""
        assert self.total is not None
        return (self.total / self.seen).astype(np.float32)

    def _double(self) -> None:
        self.counts = np.concatenate(
            (self.counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64))
        )
        self.width *= 2


def observe(
    model: ir.Model, tensors: Sequence[str], batches: Sequence[Feeds], step: Callable[[], object]
) -> dict[str, Range]:
    """Run a model and look at its activations.

    Args:
        model: the float32 graph.
        tensors: those to look at.
        batches: its inputs.
        step: called after each.
    """
    tensors = list(dict.fromkeys(tensors))
    ranges = {tensor: Range() for tensor in tensors}
    run = runner(to_proto(model, extra_outputs=tensors), tensors)
    for feeds in batches:
        for tensor, values in run(feeds).items():
            ranges[tensor].add(values)
        step()
    return ranges


def minmax(observed: Range) -> float:
    """The largest magnitude that was seen."""
    filled = np.flatnonzero(observed.counts)
    return float((filled[-1] + 1) * observed.width) if filled.size else observed.width


def percentile(observed: Range) -> float:
    """The magnitude that all but one of ten thousand values stay below."""
    cumulated = np.cumsum(observed.counts)
    index = int(np.searchsorted(cumulated, cumulated[-1] * PERCENTILE / 100))
    return float((index + 1) * observed.width)


def entropy(observed: Range) -> float:
    """The range whose levels lose the least information about the magnitudes."""
    last = int(np.flatnonzero(observed.counts)[-1]) + 1 if observed.counts.any() else 1
    candidates = [*range(LEVELS, last, BINS // 128), max(last, LEVELS)]
    losses = [_divergence(observed.counts, bins) for bins in candidates]
    return float(candidates[int(np.argmin(losses))] * observed.width)


RULES: Mapping[str, Callable[[Range], float]] = {
    "minmax": minmax,
    "percentile": percentile,
    "entropy": entropy,
}


def _divergence(counts: Counts, bins: int) -> float:
    """Kullback-Leibler divergence of the clipped histogram from its version of 128 levels."""
    inside = counts[:bins].astype(np.float64)
    reference = inside.copy()
    reference[-1] += counts[bins:].sum()
    edges = np.arange(LEVELS) * bins // LEVELS
    is_filled = inside > 0
    sums = np.add.reduceat(inside, edges)
    filled = np.maximum(np.add.reduceat(is_filled.astype(np.float64), edges), 1)
    flat = np.repeat(sums / filled, np.diff(np.append(edges, bins))) * is_filled
    p, q = reference / reference.sum(), flat / max(flat.sum(), 1.0)
    both = p > 0
    return float(np.sum(p[both] * np.log(p[both] / np.maximum(q[both], 1e-12))))
