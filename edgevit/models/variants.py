"""Every variant by name: what `create` builds and what its publication evaluates it with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from edgevit.core.errors import ModelError, suggestion
from edgevit.core.spec import InputSpec
from edgevit.models import cas_vit, lightvit, litv2
from edgevit.models.mask_rcnn import mask_rcnn
from edgevit.models.retinanet import retinanet
from edgevit.models.semantic_fpn import semantic_fpn

Build = Callable[[int], nn.Module]
"""Builds a model for a number of classes."""


@dataclass(frozen=True)
class Variant:
    """One member of a family, as classifier and as dense backbone.

    Args:
        family: family name.
        classifier: builds the classifier for a number of classes.
        pyramid: builds the dense backbone; None where the family has none.
        evaluation: gives the official evaluation preprocessing for a (height, width).
        input_size: (height, width) in pixels of the official evaluation.
    """

    family: str
    classifier: Build
    pyramid: Callable[[], nn.Module] | None
    evaluation: Callable[[tuple[int, int]], InputSpec]
    input_size: tuple[int, int] = (224, 224)


@dataclass(frozen=True)
class DenseVariant:
    """A detector or segmenter on a member of a family.

    Args:
        family: family name.
        task: `detect` or `segment`.
        model: builds it for a number of classes.
        num_classes: number of classes of the official data set, COCO or ADE20K.
    """

    family: str
    task: str
    model: Build
    num_classes: int


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


def _dense(
    head: str, family: str, name: str, pyramid: Callable[[], nn.Module]
) -> dict[str, DenseVariant]:
    """A dense variant under its name, `<backbone>_<head>`."""
    task, num_classes, build = HEADS[head]

    def model(num_classes: int) -> nn.Module:
        return build(pyramid(), num_classes)

    return {f"{name}_{head}": DenseVariant(family, task, model, num_classes)}


def _cas_vit_dense(name: str) -> dict[str, DenseVariant]:
    pyramid = partial(cas_vit.CASViTPyramid, cas_vit.CONFIGS[name])
    return {
        **_dense("retinanet", "cas_vit", name, pyramid),
        **_dense("mask_rcnn", "cas_vit", name, pyramid),
        **_dense("semantic_fpn", "cas_vit", name, pyramid),
    }


def _lightvit_dense(name: str) -> dict[str, DenseVariant]:
    pyramid = partial(lightvit.LightViTPyramid, lightvit.CONFIGS[name])
    return {
        **_dense("mask_rcnn", "lightvit", name, pyramid),
        **_dense("semantic_fpn", "lightvit", name, pyramid),
    }


def _litv2_dense(name: str) -> dict[str, DenseVariant]:
    config = litv2.CONFIGS[name]
    detection = partial(litv2.LITv2Pyramid, config)
    # Weights do not tell the two windows apart.
    large_windows = partial(litv2.LITv2Pyramid, replace(config, windows=(0, 0, 4, 1)))
    segmentation = partial(litv2.LITv2Pyramid, config, has_norm0=True)
    return {
        **_dense("retinanet", "litv2", name, detection),
        **_dense("retinanet", "litv2", f"{name}_ws4", large_windows),
        **_dense("mask_rcnn", "litv2", name, detection),
        **_dense("mask_rcnn", "litv2", f"{name}_ws4", large_windows),
        **_dense("semantic_fpn", "litv2", name, segmentation),
    }


# Task, number of classes of the official data set (COCO, ADE20K), and what puts it on a backbone.
HEADS: dict[str, tuple[str, int, Callable[[nn.Module, int], nn.Module]]] = {
    "retinanet": ("detect", 80, retinanet),
    "mask_rcnn": ("detect", 80, mask_rcnn),
    "semantic_fpn": ("segment", 150, semantic_fpn),
}

DENSE_VARIANTS: dict[str, DenseVariant] = {}
for _name in cas_vit.CONFIGS:
    DENSE_VARIANTS |= _cas_vit_dense(_name)
for _name in lightvit.CONFIGS:
    DENSE_VARIANTS |= _lightvit_dense(_name)
for _name in ("litv2_s", "litv2_m", "litv2_b"):
    DENSE_VARIANTS |= _litv2_dense(_name)


def variant_names(task: str | None = None) -> list[str]:
    """Names that `create` knows.

    Args:
        task: `classify`, `detect` or `segment`; by default all of them.
    """
    tasks = dict.fromkeys(VARIANTS, "classify")
    tasks |= {name: dense.task for name, dense in DENSE_VARIANTS.items()}
    return [name for name, its_task in tasks.items() if task in (None, its_task)]


def find_variant(name: str) -> Variant:
    """Look a variant with a classifier up.

    Raises:
        ModelError: listing the known names.
    """
    if name not in VARIANTS:
        raise _unknown(name, list(VARIANTS))
    return VARIANTS[name]


def _unknown(name: str, known: list[str]) -> ModelError:
    listed = ", ".join(known)
    return ModelError(f"no model variant {name!r}; known: {listed}{suggestion(name, known)}")


def create(name: str, num_classes: int | None = None) -> nn.Module:
    """Build a model with freshly initialised weights, in training mode.

    Args:
        name: a variant, e.g. `cas_vit_s` or `cas_vit_s_retinanet`.
        num_classes: number of classes; by default that of the official data set, 1000 for
            classifiers, 80 for detectors and 150 for segmenters.

    Returns:
        A module on float32 (B, 3, H, W), normalised RGB. A classifier gives logits
        (B, num_classes); what the others give their modules say.

    Raises:
        ModelError: if there is no such variant.
    """
    if name in VARIANTS:
        return VARIANTS[name].classifier(1000 if num_classes is None else num_classes)
    if name not in DENSE_VARIANTS:
        raise _unknown(name, variant_names())
    dense = DENSE_VARIANTS[name]
    return dense.model(dense.num_classes if num_classes is None else num_classes)


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
