"""Edge inference for efficient vision transformers.

`Predictor` loads an exported CAS-ViT, LightViT or LITv2 graph and answers images:

    import edgevit

    predictor = edgevit.Predictor("cas_vit_s.onnx")
    print(predictor.classify("photo.jpg"))

Names are loaded on first use, so that `import edgevit` costs little more than NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgevit.core.image.geometry import Geometry as Geometry
    from edgevit.core.model.spec import InputSpec as InputSpec
    from edgevit.core.model.spec import ModelSpec as ModelSpec
    from edgevit.core.tasks.results import Classification as Classification
    from edgevit.core.tasks.results import Detections as Detections
    from edgevit.core.tasks.results import Segmentation as Segmentation
    from edgevit.drawing import draw as draw
    from edgevit.predictor import Predictor as Predictor

__version__ = "0.1.0"

_HOMES = {
    "Classification": "edgevit.core.tasks.results",
    "Detections": "edgevit.core.tasks.results",
    "Geometry": "edgevit.core.image.geometry",
    "InputSpec": "edgevit.core.model.spec",
    "ModelSpec": "edgevit.core.model.spec",
    "Predictor": "edgevit.predictor",
    "Segmentation": "edgevit.core.tasks.results",
    "draw": "edgevit.drawing",
}

__all__ = [
    "Classification",
    "Detections",
    "Geometry",
    "InputSpec",
    "ModelSpec",
    "Predictor",
    "Segmentation",
    "draw",
]


def __getattr__(name: str) -> Any:  # any public name
    if name not in _HOMES:
        raise AttributeError(f"module 'edgevit' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
