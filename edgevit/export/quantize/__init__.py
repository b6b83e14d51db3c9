"""Turn a float32 model file into one with int8 arithmetic, calibrated on real pictures.

The file is a standard ONNX graph with QuantizeLinear and DequantizeLinear around the layers that
gain by it; ONNX Runtime, OpenVINO and TensorRT make integer kernels of these. What each layer costs
in accuracy is measured, and layers that cost too much stay in floating point.

It needs `onnx` and `onnxruntime` (the extra `quantize`), and no PyTorch.
"""

from edgevit.export.quantize.flow import quantize
from edgevit.export.quantize.forms import Speed
from edgevit.export.quantize.report import Accuracy, LayerSensitivity, QuantizationReport

__all__ = [
    "Accuracy",
    "LayerSensitivity",
    "QuantizationReport",
    "Speed",
    "quantize",
]
