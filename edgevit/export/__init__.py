"""From a checkpoint to one self-describing ONNX file. Needs the `export` extra."""

from edgevit.export.onnx import ExportReport, export_classifier

__all__ = ["ExportReport", "export_classifier"]
