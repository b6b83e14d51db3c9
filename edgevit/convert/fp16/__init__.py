"""A float32 graph becomes one that computes in half precision where that is safe.

Needs onnx and ONNX Runtime, not PyTorch.
"""
