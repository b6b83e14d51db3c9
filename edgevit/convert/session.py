"""Run a graph in ONNX Runtime, as it is checked and measured."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

INPUT = "image"
NO_SETTINGS: Mapping[str, NDArray[Any]] = {}

Feeds = Mapping[str, NDArray[Any]]
Outputs = dict[str, NDArray[Any]]
Run = Callable[[NDArray[np.float32]], Outputs]
"""From float32 (B, 3, H, W) to the graph's outputs by name, of whatever dtype they have."""


def load_graph(model: onnx.ModelProto, settings: Feeds = NO_SETTINGS) -> Run:
    """Load a graph of images into ONNX Runtime on the CPU.

    Args:
        model: a graph whose first input is the image.
        settings: its further inputs.
    """
    run = runner(model, [output.name for output in model.graph.output])
    weights = {tensor.name for tensor in model.graph.initializer}
    image = next(
        entry.name for entry in model.graph.input if entry.name not in {*settings, *weights}
    )
    return lambda batch: run({image: batch, **settings})


def runner(
    model: onnx.ModelProto, outputs: Sequence[str], *, exact: bool = False
) -> Callable[[Feeds], Outputs]:
    """Load a graph into ONNX Runtime on the CPU.

    Args:
        model: the graph.
        outputs: what to answer, by name.
        exact: quantized nodes are computed as the file says it, in float32 and without a kernel
            that could overflow.

    Returns:
        What runs it, from inputs to outputs by name.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if exact:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    with TemporaryDirectory() as folder:  # from bytes, it would keep a copy of all weights more
        file = Path(folder) / "graph.onnx"
        onnx.save(model, file)
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = list(outputs)
    return lambda feeds: dict(zip(names, session.run(names, dict(feeds)), strict=True))
