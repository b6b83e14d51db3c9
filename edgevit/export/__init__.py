"""From a checkpoint to one self-describing ONNX file. Needs the `export` extra."""

from edgevit.export.onnx import ExportReport, export_model

__all__ = ["ExportReport", "export_model"]
