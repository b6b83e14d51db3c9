"""Edge inference for efficient vision transformers.

`Predictor` loads an exported CAS-ViT, LightViT or LITv2 graph and answers images:

    import edgevit

    predictor = edgevit.Predictor("cas_vit_s.onnx")
    print(predictor.classify("photo.jpg"))

Names are loaded on first use, so that `import edgevit` costs little more than NumPy.
"""

from typing import TYPE_CHECKING

from edgevit import errors
from edgevit._lazy import lend

__version__ = "0.1.0"

# Loaded on first use: `import edgevit` is enough for `edgevit.tune.search(...)`.
_MODULES = (
    *("adapters", "backend", "benchmark", "convert", "doctor", "errors", "evaluate", "export"),
    *("heads", "models", "parity", "testing", "tune", "zoo"),
)

if TYPE_CHECKING:
    from edgevit.core.image.geometry import Geometry as Geometry
    from edgevit.core.image.load import load_image as load_image
    from edgevit.core.model.spec import InputSpec as InputSpec
    from edgevit.core.model.spec import ModelSpec as ModelSpec
    from edgevit.core.tasks.results import Classification as Classification
    from edgevit.core.tasks.results import Detections as Detections
    from edgevit.core.tasks.results import Segmentation as Segmentation
    from edgevit.drawing import draw as draw
    from edgevit.errors import *  # noqa: F403 - all of its `__all__`
    from edgevit.predictor import Predictor as Predictor
else:
    __getattr__, __dir__, __all__ = lend(
        __name__,
        {
            "edgevit.core.image.geometry": ("Geometry",),
            "edgevit.core.image.load": ("load_image",),
            "edgevit.core.model.spec": ("InputSpec", "ModelSpec"),
            "edgevit.core.tasks.results": ("Classification", "Detections", "Segmentation"),
            "edgevit.drawing": ("draw",),
            "edgevit.errors": errors.__all__,
            "edgevit.predictor": ("Predictor",),
        },
        modules=_MODULES,
    )
