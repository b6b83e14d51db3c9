"""From a checkpoint to one self-describing ONNX file. Needs the `export` extra.

Names are loaded on first use, so that importing this package does not import PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgevit.export.export import ExportReport as ExportReport
    from edgevit.export.export import export_model as export_model

__all__ = ["ExportReport", "export_model"]


def __getattr__(name: str) -> Any:  # either public name
    if name not in __all__:
        raise AttributeError(f"module 'edgevit.export' has no attribute {name!r}")
    return getattr(import_module("edgevit.export.export"), name)
