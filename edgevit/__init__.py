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
    from edgevit.errors import BackendError as BackendError
    from edgevit.errors import BackendNotFoundError as BackendNotFoundError
    from edgevit.errors import BackendUnavailableError as BackendUnavailableError
    from edgevit.errors import DeviceError as DeviceError
    from edgevit.errors import EdgeVitError as EdgeVitError
    from edgevit.errors import ExportError as ExportError
    from edgevit.errors import InferenceError as InferenceError
    from edgevit.errors import InputError as InputError
    from edgevit.errors import LoadError as LoadError
    from edgevit.errors import ModelError as ModelError
    from edgevit.errors import ModelNotFoundError as ModelNotFoundError
    from edgevit.errors import QuantizationError as QuantizationError
    from edgevit.errors import SpecError as SpecError
    from edgevit.errors import ZooError as ZooError
    from edgevit.predictor import Predictor as Predictor
else:
    __getattr__, __dir__, __all__ = lend(
        __name__,
        {
            "edgevit.core.image.geometry": ("Geometry",),
            "edgevit.core.image.load": ("load_image",),
            "edgevit.core.model.spec": (
                "InputSpec",
                "ModelSpec",
            ),
            "edgevit.core.tasks.results": (
                "Classification",
                "Detections",
                "Segmentation",
            ),
            "edgevit.drawing": ("draw",),
            "edgevit.errors": (
                "BackendError",
                "BackendNotFoundError",
                "BackendUnavailableError",
                "DeviceError",
                "EdgeVitError",
                "ExportError",
                "InferenceError",
                "InputError",
                "LoadError",
                "ModelError",
                "ModelNotFoundError",
                "QuantizationError",
                "SpecError",
                "ZooError",
            ),
            "edgevit.predictor": ("Predictor",),
        },
        modules=_MODULES,
    )
