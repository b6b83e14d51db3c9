"""Prove that a graph computes its module, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from edgevit.core.errors import ExportError

INPUT, OUTPUT = "image", "logits"
TOLERANCE = 1e-4  # float32 rounding of a whole network stays far below, a wrong operator far above

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From float32 (B, 3, H, W) to float32 logits (B, C)."""


def load_graph(model: onnx.ModelProto) -> Run:
    """Load a graph into ONNX Runtime on the CPU.

    Args:
        model: a graph with input `image` and output `logits`.

    Returns:
        What runs it.
    """
    with TemporaryDirectory() as folder:  # from bytes, it would keep a copy of all weights more
        file = Path(folder) / "graph.onnx"
        onnx.save(model, file)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run([OUTPUT], {INPUT: batch})[0]
        return logits

    return run


def answer_and_difference(
    model: onnx.ModelProto, module: nn.Module, batch: NDArray[np.float32]
) -> tuple[NDArray[np.float32], float]:
    """Compare a graph with its module on a batch and on noise.

    Args:
        model: a graph with input `image` and output `logits`.
        module: in eval mode, from float32 (B, 3, H, W) to logits.
        batch: float32 (B, 3, H, W).

    Returns:
        The graph's logits for the batch, and the largest absolute difference of a logit.

    Raises:
        ExportError: if it is more than rounding explains.
    """
    run = load_graph(model)
    noise = np.random.default_rng(0).standard_normal(batch.shape, np.float32)
    return run(batch), max(_difference(run, module, feed) for feed in (batch, noise))


def _difference(run: Run, module: nn.Module, batch: NDArray[np.float32]) -> float:
    with torch.no_grad():
        expected = module(torch.from_numpy(batch)).numpy()
    difference = float(np.abs(run(batch) - expected).max())
    if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise ExportError(
            f"the exported graph differs from the module by {difference:.1e} in a logit, more "
            f"than {TOLERANCE}; nothing was written. Try another release of PyTorch or ONNX Runtime"
        )
    return difference
