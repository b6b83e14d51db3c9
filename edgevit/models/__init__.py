"""The model families as plain PyTorch modules with the official parameter names.

Needs PyTorch (the `export` extra); the runtime never imports this package.
"""

from edgevit.models.mask_rcnn import mask_rcnn
from edgevit.models.retinanet import retinanet
from edgevit.models.semantic_fpn import semantic_fpn
from edgevit.models.variants import create, create_pyramid, variant_names

__all__ = ["create", "create_pyramid", "mask_rcnn", "retinanet", "semantic_fpn", "variant_names"]
