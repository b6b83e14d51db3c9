"""Edge inference for efficient vision transformers.

`Predictor` loads an exported CAS-ViT, LightViT or LITv2 graph and answers images:

    import edgevit

    predictor = edgevit.Predictor("cas_vit_s.onnx")
    print(predictor.classify("photo.jpg"))

Names are loaded on first use, so that `import edgevit` costs little more than NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgevit._lazy import lend

__version__ = "0.1.0"

if TYPE_CHECKING:
    from edgevit.core.geometry import Geometry as Geometry
    from edgevit.core.results import Classification as Classification
    from edgevit.core.results import Detections as Detections
    from edgevit.core.results import Segmentation as Segmentation
    from edgevit.core.spec import InputSpec as InputSpec
    from edgevit.core.spec import ModelSpec as ModelSpec
    from edgevit.draw import draw as draw
    from edgevit.predictor import Predictor as Predictor
else:
    __getattr__, __dir__, __all__ = lend(
        __name__,
        {
            "edgevit.core.geometry": ("Geometry",),
            "edgevit.core.results": ("Classification", "Detections", "Segmentation"),
            "edgevit.core.spec": ("InputSpec", "ModelSpec"),
            "edgevit.draw": ("draw",),
            "edgevit.predictor": ("Predictor",),
        },
    )
