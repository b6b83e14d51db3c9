"""From a PyTorch module to an ONNX graph."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from edgevit import __version__
from edgevit.convert.session import INPUT, NO_SETTINGS
from edgevit.errors import ExportError, ModelError
from edgevit.export.operators import TRANSLATIONS

# The first opset with Gelu as one operator; ONNX Runtime 1.20, the oldest release that
# edgevit accepts, and OpenVINO read it.
OPSET = 20
LOGITS = ("logits",)


def graph_from_module(
    module: nn.Module,
    size: tuple[int, int],
    *,
    outputs: Sequence[str] = LOGITS,
    settings: Mapping[str, NDArray[Any]] = NO_SETTINGS,
    dynamic_batch: bool = False,
) -> onnx.ModelProto:
    """Trace a module into an ONNX graph.

    Args:
        module: in eval mode, from float32 (B, 3, height, width) and `settings` to a tensor for each
            output.
        size: input (height, width) in pixels.
        outputs: a name for each tensor that the module answers, in order.
        settings: names of further inputs, and arrays of their dtype and shape.
        dynamic_batch: leave the batch axis open instead of fixing it at 1.

    Returns:
        The graph, with input `image` and the others.

    Raises:
        ExportError: if PyTorch cannot translate the module.
    """
    # A traced batch of 1 would be taken for a constant.
    example = torch.zeros(2 if dynamic_batch else 1, 3, *size)
    shapes = ({0: torch.export.Dim("batch")},) if dynamic_batch else None
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of absent torchvision
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's own deprecations inside its exporter
            program = torch.onnx.export(
                module,
                (example, *map(torch.from_numpy, settings.values())),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT, *settings],
                output_names=list(outputs),
                dynamic_shapes=shapes,
                custom_translation_table=TRANSLATIONS,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as exc:
        refusal = _refusal_behind(exc)
        if refusal is not None:
            raise ExportError(str(refusal)) from exc
        raise ExportError(f"PyTorch cannot export {type(module).__name__}: {exc}") from exc
    assert program is not None
    model = program.model_proto
    for value in program.model.graph.initializers.values():
        value.const_value = None  # onnxscript's rewrite rules hold on to the graph they saw last
    model.producer_name, model.producer_version = "edgevit", __version__
    _drop_traces(model)
    return model


def _refusal_behind(error: BaseException | None) -> ModelError | None:
    """What the module itself refused, such as an input size, if that is what stopped PyTorch."""
    while error is not None and not isinstance(error, ModelError):
        error = error.__cause__ or error.__context__
    return error


def _drop_traces(model: onnx.ModelProto) -> None:
    """PyTorch notes for every node and value where in the source it came from."""
    for values in (model.graph.node, model.graph.value_info, model.graph.input, model.graph.output):
        for value in values:
            del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
