"""Run a graph in ONNX Runtime, as it is checked and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

INPUT = "image"
NO_SETTINGS: Mapping[str, NDArray[Any]] = {}

Run = Callable[[NDArray[np.float32]], dict[str, NDArray[Any]]]
"""From float32 (B, 3, H, W) to the graph's outputs by name, of whatever dtype they have."""


def load_graph(model: onnx.ModelProto, settings: Mapping[str, NDArray[Any]] = NO_SETTINGS) -> Run:
    """Load a graph into ONNX Runtime on the CPU.

    Args:
        model: a graph whose first input is the image.
        settings: its further inputs.

    Returns:
        What runs it.
    """
    with TemporaryDirectory() as folder:  # from bytes, it would keep a copy of all weights more
        file = Path(folder) / "graph.onnx"
        onnx.save(model, file)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    image = next(entry.name for entry in session.get_inputs() if entry.name not in settings)

    def run(batch: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        return dict(zip(names, session.run(names, {image: batch, **settings}), strict=True))

    return run
