"""Every variant by name: what `create` builds and what its publication evaluates it with."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from torch import nn

from edgevit.core.model.spec import InputSpec
from edgevit.errors import ModelError, suggestion
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

    head: ClassVar[str] = "classifier"
    task: ClassVar[str] = "classify"
    num_classes: ClassVar[int] = 1000

    family: str
    classifier: Build
    pyramid: Callable[[], nn.Module] | None
    evaluation: Callable[[tuple[int, int]], InputSpec]
    input_size: tuple[int, int] = (224, 224)

    def build(self, num_classes: int) -> nn.Module:
        """Build the classifier with freshly initialized weights, in training mode."""
        return self.classifier(num_classes)


@dataclass(frozen=True)
class DenseHead:
    """What detectors or segmenters of one kind have in common.

    Args:
        task: `detect` or `segment`.
        num_classes: number of classes of the official data set, COCO or ADE20K.
        model: puts neck and head on a backbone, for a number of classes; takes their widths too.
        input_size: (height, width) in pixels that suits a device, where nobody says another.
        resize: how images of another shape get there, as in `InputSpec`.
        pad_value: 0-255, what a letterbox is padded with: about the mean color, which upstream
            pads with.
    """

    task: str
    num_classes: int
    model: Callable[..., nn.Module]
    input_size: tuple[int, int]
    resize: str
    pad_value: int = 0


@dataclass(frozen=True)
class DenseVariant:
    """A detector or segmenter on a member of a family.

    Args:
        family: family name.
        head: which, a name in `HEADS`.
        pyramid: builds the backbone.
    """

    family: str
    head: str
    pyramid: Callable[[], nn.Module]

    @property
    def task(self) -> str:
        """The head's task, `detect` or `segment`."""
        return HEADS[self.head].task

    @property
    def num_classes(self) -> int:
        """Number of classes of the official data set."""
        return HEADS[self.head].num_classes

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels that suits a device."""
        return HEADS[self.head].input_size

    def evaluation(self, size: tuple[int, int]) -> InputSpec:
        """Preprocessing for a (height, width): upstream's filter and colors, at a fixed size."""
        head = HEADS[self.head]
        return InputSpec(
            size,
            interpolation="bilinear",
            resize=head.resize,
            crop_pct=1.0,
            pad_value=head.pad_value,
        )

    def build(self, num_classes: int, **widths: int) -> nn.Module:
        """Build the model with freshly initialized weights, in training mode.

        Args:
            num_classes: number of classes.
            widths: of neck and head, where they are not the official ones.
        """
        return HEADS[self.head].model(self.pyramid(), num_classes, **widths)


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


def _crop_evaluation(size: tuple[int, int]) -> InputSpec:
    """Crop 224/256, the official rule of LightViT and LITv2.

    Source:
        image_classification_sota `lib/dataset/transform.py`; LITv2 `classification/data/build.py`.
    """
    return InputSpec(size, resize="shorter", crop_pct=224 / 256)


def _lightvit(name: str) -> Variant:
    config = lightvit.CONFIGS[name]
    return Variant(
        family="lightvit",
        classifier=lambda num_classes: lightvit.LightViT(config, num_classes),
        pyramid=lambda: lightvit.LightViTPyramid(config),
        evaluation=_crop_evaluation,
    )


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
        evaluation=_litv2_384_evaluation if is_large else _crop_evaluation,
        input_size=(384, 384) if is_large else (224, 224),
    )


VARIANTS = {
    **{name: _cas_vit(name) for name in cas_vit.CONFIGS},
    **{name: _lightvit(name) for name in lightvit.CONFIGS},
    **{name: _litv2(name) for name in litv2.CONFIGS},
}


def _dense(
    family: str, name: str, pyramid: Callable[[], nn.Module], heads: Iterable[str]
) -> dict[str, DenseVariant]:
    """Dense variants of one pyramid under their names, `<backbone>_<head>`."""
    return {f"{name}_{head}": DenseVariant(family, head, pyramid) for head in heads}


def _litv2_dense(name: str) -> dict[str, DenseVariant]:
    config = litv2.CONFIGS[name]
    detection = partial(litv2.LITv2Pyramid, config)
    # Weights do not tell the two windows apart.
    large_windows = partial(litv2.LITv2Pyramid, replace(config, windows=(0, 0, 4, 1)))
    segmentation = partial(litv2.LITv2Pyramid, config, has_norm0=True)
    return {
        **_dense("litv2", name, detection, ["retinanet"]),
        **_dense("litv2", f"{name}_ws4", large_windows, ["retinanet"]),
        **_dense("litv2", name, detection, ["mask_rcnn"]),
        **_dense("litv2", f"{name}_ws4", large_windows, ["mask_rcnn"]),
        **_dense("litv2", name, segmentation, ["semantic_fpn"]),
    }


HEADS = {
    "retinanet": DenseHead("detect", 80, retinanet, (640, 640), "letterbox", 114),
    "mask_rcnn": DenseHead("detect", 80, mask_rcnn, (640, 640), "letterbox", 114),
    "semantic_fpn": DenseHead("segment", 150, semantic_fpn, (512, 512), "stretch"),
}

DENSE_VARIANTS: dict[str, DenseVariant] = {}
for _name, _cas_vit_config in cas_vit.CONFIGS.items():
    DENSE_VARIANTS |= _dense(
        "cas_vit", _name, partial(cas_vit.CASViTPyramid, _cas_vit_config), HEADS
    )
for _name, _lightvit_config in lightvit.CONFIGS.items():
    DENSE_VARIANTS |= _dense(
        "lightvit",
        _name,
        partial(lightvit.LightViTPyramid, _lightvit_config),
        ("mask_rcnn", "semantic_fpn"),
    )
for _name in ("litv2_s", "litv2_m", "litv2_b"):
    DENSE_VARIANTS |= _litv2_dense(_name)

DEFINITIONS: dict[str, Variant | DenseVariant] = {**VARIANTS, **DENSE_VARIANTS}


def variant_names(task: str | None = None) -> list[str]:
    """Names that `create` knows.

    Args:
        task: `classify`, `detect` or `segment`; by default all of them.
    """
    return [name for name, found in DEFINITIONS.items() if task in (None, found.task)]


def find_variant(name: str) -> Variant:
    """Look a variant with a classifier up.

    Raises:
        ModelError: listing the known names.
    """
    if name not in VARIANTS:
        raise _unknown(name, list(VARIANTS))
    return VARIANTS[name]


def find_definition(name: str) -> Variant | DenseVariant:
    """Look any variant up.

    Raises:
        ModelError: listing the known names.
    """
    if name not in DEFINITIONS:
        raise _unknown(name, list(DEFINITIONS))
    return DEFINITIONS[name]


def _unknown(name: str, known: list[str]) -> ModelError:
    listed = ", ".join(known)
    return ModelError(f"no model variant {name!r}{suggestion(name, known)}; known: {listed}")


def create(name: str, num_classes: int | None = None) -> nn.Module:
    """Build a model with freshly initialized weights, in training mode.

    Args:
        name: a variant, e.g. `cas_vit_s` or `cas_vit_s_retinanet`.
        num_classes: number of classes; by default that of the official data set, 1000 for
            classifiers, 80 for detectors and 150 for segmenters.

    Returns:
        A module on float32 (B, 3, H, W), normalized RGB. A classifier gives logits
        (B, num_classes); what the others give their modules say.

    Raises:
        ModelError: if there is no such variant.
    """
    definition = find_definition(name)
    return definition.build(definition.num_classes if num_classes is None else num_classes)


def create_pyramid(name: str) -> nn.Module:
    """Build a dense backbone with freshly initialized weights, in training mode.

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
