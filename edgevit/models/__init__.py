"""The model families as plain PyTorch modules with the official parameter names.

Needs PyTorch (the `export` extra); the runtime never imports this package.
"""

from edgevit.models.variants import create, create_pyramid, variant_names

__all__ = ["create", "create_pyramid", "variant_names"]
