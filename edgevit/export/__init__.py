"""From a checkpoint to one self-describing ONNX file. Needs the `export` extra.

Names are loaded on first use, so that importing this package does not import PyTorch.
"""

from typing import TYPE_CHECKING

from edgevit._lazy import lend

if TYPE_CHECKING:
    from edgevit.export.export import ExportReport as ExportReport
    from edgevit.export.export import export_model as export_model
else:
    __getattr__, __dir__, __all__ = lend(
        __name__, {"edgevit.export.export": ("ExportReport", "export_model")}
    )
