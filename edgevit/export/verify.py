"""Prove that a graph computes its module, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from edgevit.core.errors import ExportError
from edgevit.export.graph import INPUT, NO_SETTINGS
from edgevit.export.kinds import Comparison, Ending

TOLERANCE = 1e-4  # float32 rounding of a whole network stays far below, a wrong operator far above

Run = Callable[[NDArray[np.float32]], dict[str, NDArray[Any]]]
"""From float32 (B, 3, H, W) to the graph's outputs by name, of whatever dtype they have."""


def load_graph(model: onnx.ModelProto, settings: Mapping[str, NDArray[Any]] = NO_SETTINGS) -> Run:
    """Load a graph into ONNX Runtime on the CPU.

    Args:
        model: a graph with input `image`.
        settings: its further inputs.

    Returns:
        What runs it.
    """
    with TemporaryDirectory() as folder:  # from bytes, it would keep a copy of all weights more
        file = Path(folder) / "graph.onnx"
        onnx.save(model, file)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(batch: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        return dict(zip(names, session.run(names, {INPUT: batch, **settings}), strict=True))

    return run


def answer_and_difference(
    model: onnx.ModelProto, module: nn.Module, ending: Ending, batch: NDArray[np.float32]
) -> tuple[dict[str, NDArray[Any]], float]:
    """Compare a graph with its module on a batch and on noise.

    Args:
        model: a graph with input `image`.
        module: in eval mode, from float32 (B, 3, H, W) to what `ending` compares.
        ending: how the graph ends.
        batch: float32 (B, 3, H, W).

    Returns:
        The graph's outputs for the batch, and the largest absolute difference of a value.

    Raises:
        ExportError: if it is more than rounding explains.
    """
    run = load_graph(model, ending.settings)
    reference = ending.reference(module)
    noise = np.random.default_rng(0).standard_normal(batch.shape, np.float32)
    answers = [run(feed) for feed in (batch, noise)]
    differences = [
        _checked(comparison)
        for feed, outputs in zip((batch, noise), answers, strict=True)
        for comparison in ending.compare(_answer(reference, feed), outputs)
    ]
    return answers[0], max(differences)


def _answer(module: nn.Module, batch: NDArray[np.float32]) -> Any:  # what the module gives
    with torch.no_grad():
        return module(torch.from_numpy(batch))


def _checked(comparison: Comparison) -> float:
    difference = comparison.difference
    if not difference <= TOLERANCE * max(1.0, float(np.abs(comparison.module).max(initial=0))):
        raise ExportError(
            f"the exported graph differs from the module by {difference:.1e} in "
            f"{comparison.what}, more than {TOLERANCE}; nothing was written. Try another release "
            "of PyTorch or ONNX Runtime"
        )
    return difference
