"""What travels in the metadata of an ONNX file."""

import onnx

from edgevit.core.model.metadata import MULTIPLY_ADDS_KEY
from edgevit.core.model.spec import METADATA_KEY, ModelSpec


def embed_spec(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Put the spec into a model's metadata, replacing one that is there."""
    _set_metadata(model, METADATA_KEY, spec.to_json())


def embed_multiply_adds(model: onnx.ModelProto, count: int) -> None:
    """Put the number of multiply-adds for one image into a model's metadata, as `bench` reads it.

    It is the module's number, not that of the graph's own nodes: a graph that computes more than
    the model needs gets no credit for it.
    """
    _set_metadata(model, MULTIPLY_ADDS_KEY, str(count))


def _set_metadata(model: onnx.ModelProto, key: str, value: str) -> None:
    kept = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**kept, key: value})
