"""Prove that a graph computes its module, in ONNX Runtime."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from edgevit.convert.reference_inputs import noise_like
from edgevit.convert.session import load_graph
from edgevit.errors import ExportError
from edgevit.export.heads.base import Comparison, GraphHead


@dataclass(frozen=True, slots=True)
class Rounding:
    """What rounding may do to a whole network.

    Args:
        tolerance: by how much it may move a value, relative to the largest one (or to 1).
        advice: what to do where more is moved.
    """

    tolerance: float
    advice: str


# Rounding stays far below, a wrong operator is far above.
FLOAT = Rounding(1e-4, "Try another release of PyTorch or ONNX Runtime")
HALF = Rounding(0.05, "Export it in fp32, or with --half-weights for a small file")


def answer_and_difference(
    model: onnx.ModelProto,
    module: nn.Module,
    graph_head: GraphHead,
    batch: NDArray[np.float32],
    *,
    rounding: Rounding = FLOAT,
) -> tuple[dict[str, NDArray[Any]], float]:
    """Compare a graph with its module on a batch and on noise.

    Args:
        model: a graph with input `image`.
        module: in eval mode, from float32 (B, 3, H, W) to what `graph_head` compares.
        graph_head: how the graph ends.
        batch: float32 (B, 3, H, W).
        rounding: of what the graph computes in.

    Returns:
        The graph's outputs for the batch, and the largest absolute difference of a value.

    Raises:
        ExportError: if it is more than rounding explains.
    """
    run = load_graph(model, graph_head.settings)
    reference = graph_head.reference(module)
    compare = (rounding is HALF and graph_head.compare_half) or graph_head.compare
    feeds = (batch, noise_like(batch))
    answers = [run(feed) for feed in feeds]
    differences = [
        _checked(comparison, rounding)
        for feed, outputs in zip(feeds, answers, strict=True)
        for comparison in compare(_answer(reference, feed), outputs)
    ]
    return answers[0], max(differences)


def _answer(module: nn.Module, batch: NDArray[np.float32]) -> Any:  # what the module gives
    with torch.no_grad():
        return module(torch.from_numpy(batch))


def _checked(comparison: Comparison, rounding: Rounding) -> float:
    difference, tolerance = comparison.difference, rounding.tolerance
    if not difference <= tolerance * max(1.0, float(np.abs(comparison.module).max(initial=0))):
        raise ExportError(
            f"the exported graph differs from the module by {difference:.1e} in "
            f"{comparison.what}, more than {tolerance}; nothing was written. {rounding.advice}"
        )
    return difference
