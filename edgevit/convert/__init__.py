"""From one ONNX file to another: half precision, int8. Needs onnx and ONNX Runtime, not PyTorch.

Names are loaded on first use.
"""

from typing import TYPE_CHECKING

from edgevit._lazy import lend

if TYPE_CHECKING:
    from edgevit.convert.fp16.convert import Fp16Report as Fp16Report
    from edgevit.convert.fp16.convert import convert_to_fp16 as convert_to_fp16
    from edgevit.convert.int8.quantize import quantize as quantize
    from edgevit.convert.int8.report import Accuracy as Accuracy
    from edgevit.convert.int8.report import LayerSensitivity as LayerSensitivity
    from edgevit.convert.int8.report import QuantizationReport as QuantizationReport
else:
    __getattr__, __dir__, __all__ = lend(
        __name__,
        {
            "edgevit.convert.fp16.convert": ("Fp16Report", "convert_to_fp16"),
            "edgevit.convert.int8.quantize": ("quantize",),
            "edgevit.convert.int8.report": ("Accuracy", "LayerSensitivity", "QuantizationReport"),
        },
    )
