"""From a checkpoint to one self-describing ONNX file. Needs the `export` extra.

Names are loaded on first use: `edgevit.export.half` and `edgevit.export.quantize` need onnx and
ONNX Runtime, not PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgevit._lazy import lend

if TYPE_CHECKING:
    from edgevit.export.onnx import ExportReport as ExportReport
    from edgevit.export.onnx import export_model as export_model
else:
    __getattr__, __dir__, __all__ = lend(
        __name__, {"edgevit.export.onnx": ("ExportReport", "export_model")}
    )
