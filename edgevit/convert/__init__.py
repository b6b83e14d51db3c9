"""From one ONNX file to another: half precision, int8. Needs onnx and ONNX Runtime, not PyTorch.

Names are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgevit._lazy import lend

if TYPE_CHECKING:
    from edgevit.convert.fp16.convert import HalfReport as HalfReport
    from edgevit.convert.fp16.convert import convert_to_half as convert_to_half
    from edgevit.convert.int8.quantize import quantize as quantize
    from edgevit.convert.int8.report import Accuracy as Accuracy
    from edgevit.convert.int8.report import LayerSensitivity as LayerSensitivity
    from edgevit.convert.int8.report import QuantizationReport as QuantizationReport
else:
    __getattr__, __dir__, __all__ = lend(
        __name__,
        {
            "edgevit.convert.fp16.convert": (
                "HalfReport",
                "convert_to_half",
            ),
            "edgevit.convert.int8.quantize": ("quantize",),
            "edgevit.convert.int8.report": (
                "Accuracy",
                "LayerSensitivity",
                "QuantizationReport",
            ),
        },
    )
