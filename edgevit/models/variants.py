"""Every variant by name: what `create` builds and what its publication evaluates it with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from edgevit.core.errors import ModelError, suggestion
from edgevit.core.spec import InputSpec
from edgevit.models import cas_vit, lightvit, litv2


@dataclass(frozen=True)
class Variant:
    """One member of a family.

    Args:
        family: family name.
        classifier: builds the classifier for a number of classes.
        pyramid: builds the dense backbone; None where the family has none.
        evaluation: gives the official evaluation preprocessing for a (height, width).
        input_size: (height, width) in pixels of the official evaluation.
    """

    family: str
    classifier: Callable[[int], nn.Module]
    pyramid: Callable[[], nn.Module] | None
    evaluation: Callable[[tuple[int, int]], InputSpec]
    input_size: tuple[int, int] = (224, 224)


def _cas_vit_evaluation(size: tuple[int, int]) -> InputSpec:
    """Official rule (classification/datasets.py): below 384 crop 224/256, from 384 on stretch."""
    if min(size) >= 384:
        return InputSpec(size, resize="stretch", crop_pct=1.0)
    return InputSpec(size, resize="shorter", crop_pct=224 / 256)


def _cas_vit(name: str) -> Variant:
    config = cas_vit.CONFIGS[name]
    return Variant(
        family="cas_vit",
        classifier=lambda num_classes: cas_vit.CASViT(config, num_classes),
        pyramid=lambda: cas_vit.CASViTPyramid(config),
        evaluation=_cas_vit_evaluation,
    )


def _lightvit_evaluation(size: tuple[int, int]) -> InputSpec:
    """Official rule (image_classification_sota, lib/dataset/transform.py): crop 224/256."""
    return InputSpec(size, resize="shorter", crop_pct=224 / 256)


def _lightvit(name: str) -> Variant:
    config = lightvit.CONFIGS[name]
    return Variant(
        family="lightvit",
        classifier=lambda num_classes: lightvit.LightViT(config, num_classes),
        pyramid=lambda: lightvit.LightViTPyramid(config),
        evaluation=_lightvit_evaluation,
    )


def _litv2_evaluation(size: tuple[int, int]) -> InputSpec:
    """Official rule (classification/data/build.py): crop 224/256."""
    return InputSpec(size, resize="shorter", crop_pct=224 / 256)


def _litv2_384_evaluation(size: tuple[int, int]) -> InputSpec:
    """Official rule (classification/configs/litv2-base-finetune-384.yaml, CROP False): stretch."""
    return InputSpec(size, resize="stretch", crop_pct=1.0)


def _litv2(name: str) -> Variant:
    config = litv2.CONFIGS[name]
    is_large = name.endswith("_384")
    return Variant(
        family="litv2",
        classifier=lambda num_classes: litv2.LITv2(config, num_classes),
        pyramid=lambda: litv2.LITv2Pyramid(config),
        evaluation=_litv2_384_evaluation if is_large else _litv2_evaluation,
        input_size=(384, 384) if is_large else (224, 224),
    )


VARIANTS = {
    **{name: _cas_vit(name) for name in cas_vit.CONFIGS},
    **{name: _lightvit(name) for name in lightvit.CONFIGS},
    **{name: _litv2(name) for name in litv2.CONFIGS},
}


def variant_names() -> list[str]:
    """Names that `create` knows."""
    return list(VARIANTS)


def find_variant(name: str) -> Variant:
    """Look a variant up.

    Raises:
        ModelError: listing the known names.
    """
    if name not in VARIANTS:
        listed = ", ".join(VARIANTS)
        raise ModelError(f"no model variant {name!r}; known: {listed}{suggestion(name, VARIANTS)}")
    return VARIANTS[name]


def create(name: str, num_classes: int = 1000) -> nn.Module:
    """Build a classifier with freshly initialised weights, in training mode.

    Args:
        name: a variant, e.g. `cas_vit_s`.
        num_classes: length of the logits.

    Returns:
        A module from float32 (B, 3, H, W), normalised RGB, to logits (B, num_classes).

    Raises:
        ModelError: if there is no such variant.
    """
    return find_variant(name).classifier(num_classes)


def create_pyramid(name: str) -> nn.Module:
    """Build a dense backbone with freshly initialised weights, in training mode.

    Args:
        name: a variant, e.g. `cas_vit_s`.

    Returns:
        A module from float32 (B, 3, H, W) to a list of maps, the finest first: at strides 4, 8, 16
        and 32, or for LightViT at 8, 16 and 32.

    Raises:
        ModelError: if there is no such variant, or it has no dense form.
    """
    pyramid = find_variant(name).pyramid
    if pyramid is None:
        raise ModelError(f"{name!r} has no feature-pyramid form")
    return pyramid()
