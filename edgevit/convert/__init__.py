"""From one ONNX file to another: half precision, int8. Needs onnx and ONNX Runtime, not PyTorch.

Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgevit.convert.fp16.convert import HalfReport as HalfReport
    from edgevit.convert.fp16.convert import convert_to_half as convert_to_half
    from edgevit.convert.int8.quantize import quantize as quantize
    from edgevit.convert.int8.report import QuantizationReport as QuantizationReport

_HOMES = {
    "HalfReport": "edgevit.convert.fp16.convert",
    "QuantizationReport": "edgevit.convert.int8.report",
    "convert_to_half": "edgevit.convert.fp16.convert",
    "quantize": "edgevit.convert.int8.quantize",
}

__all__ = ["HalfReport", "QuantizationReport", "convert_to_half", "quantize"]


def __getattr__(name: str) -> Any:  # any public name
    if name not in _HOMES:
        raise AttributeError(f"module 'edgevit.convert' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
