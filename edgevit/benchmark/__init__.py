"""Measure models: what the runtime takes, what the SDK adds, how the first answer feels.

`compare` measures several models, backends, precisions and thread counts in one interleaved run:

    from edgevit.benchmark import Candidate, compare

    comparison = compare([Candidate(backend=name, threads=2) for name in names], image)
    comparison.fastest().stages_ms["total"].p95
"""

from edgevit.benchmark.arithmetic import MATMUL, MATMUL_SIDE
from edgevit.benchmark.card import card
from edgevit.benchmark.measure import compare
from edgevit.benchmark.plot import write_plot
from edgevit.benchmark.report import (
    Accuracy,
    Arithmetic,
    BenchmarkReport,
    Candidate,
    Comparison,
    Percentiles,
)
from edgevit.core.machine.state import Conditions, MachineState

__all__ = [
    "MATMUL",
    "MATMUL_SIDE",
    "Accuracy",
    "Arithmetic",
    "BenchmarkReport",
    "Candidate",
    "Comparison",
    "Conditions",
    "MachineState",
    "Percentiles",
    "card",
    "compare",
    "write_plot",
]
