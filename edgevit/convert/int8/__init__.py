"""A float32 file becomes one with int8 arithmetic, calibrated on real images.

The file is a standard ONNX graph with QuantizeLinear and DequantizeLinear around the layers that
gain by it; ONNX Runtime, OpenVINO and TensorRT make integer kernels of these. What each layer costs
in accuracy is measured, and layers that cost too much stay in floating point.
"""
