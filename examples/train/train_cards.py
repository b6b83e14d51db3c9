"""Train a small RetinaNet on playing cards; README.md beside this file gives the command."""

from __future__ import annotations

import argparse

import cv2
import numpy as np
import torch
from augment import Image
from cards import Scene, draw_examples, read_scenes
from dense_trainer import Recipe, add_options, main
from torch import Tensor, nn
from torch.nn import functional

from edgevit.models.boxes import by_anchor, decode_deltas, level_anchors
from edgevit.models.retinanet import ANCHORS, RetinaNet, retinanet

NUM_CLASSES = 6
POSITIVE, NEGATIVE, CERTAIN = 0.5, 0.4, 0.3  # overlaps; a box's best anchor counts from the last
ALPHA, GAMMA = 0.25, 2.0  # of the focal loss
BOX_WEIGHT = 2.0

Outputs = tuple[list[Tensor], list[Tensor]]


def model(backbone: nn.Module) -> RetinaNet:
    """The bundled detector's shape: 64 channels, two convolutions in each tower."""
    return retinanet(backbone, NUM_CLASSES, channels=64, stacked=2)


def loss(outputs: Outputs, targets: list[Scene]) -> Tensor:
    """Focal loss of the classes plus generalised-IoU loss of the boxes, per object's anchor."""
    logits = torch.cat([by_anchor(level, NUM_CLASSES) for level in outputs[0]], dim=1)
    deltas = torch.cat([by_anchor(level, 4) for level in outputs[1]], dim=1)
    anchors = torch.cat(
        [level_anchors(ANCHORS, s, x) for s, x in zip(ANCHORS.strides, outputs[0], strict=True)]
    )
    total, count = logits.new_zeros(()), 0
    for image_logits, image_deltas, scene in zip(logits, deltas, targets, strict=True):
        boxes, class_ids = torch.from_numpy(scene.boxes), torch.from_numpy(scene.class_ids)
        objects, labels = assign(anchors, boxes, class_ids)
        is_counted, is_object = labels > -2, labels >= 0
        truth = functional.one_hot(labels.clamp(min=-1) + 1, NUM_CLASSES + 1)[:, 1:].float()
        total = total + focal_loss(image_logits[is_counted], truth[is_counted])
        found = decode_deltas(anchors[is_object], image_deltas[is_object])
        total = total + BOX_WEIGHT * (1 - generalised_iou(found, boxes[objects[is_object]])).sum()
        count += int(is_object.sum())
    return total / max(count, 1)


def assign(anchors: Tensor, boxes: Tensor, class_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Which object each anchor is for: int64 (N,) rows of `boxes`, and int64 (N,) classes.

    A class of -1 is background, -2 counts for nothing. Boxes (M, 4) of class -1 count for nothing.
    """
    if len(boxes) == 0:
        return torch.zeros(len(anchors), dtype=torch.int64), torch.full((len(anchors),), -1)
    overlaps = iou(anchors, boxes)
    best, objects = overlaps.max(dim=1)
    labels = torch.where(best >= NEGATIVE, -2, -1)
    owns = (overlaps == overlaps.max(dim=0).values) & (overlaps >= CERTAIN)
    objects = torch.where(owns.any(dim=1), owns.int().argmax(dim=1), objects)
    is_object = (best >= POSITIVE) | owns.any(dim=1)
    labels = torch.where(is_object, class_ids[objects], labels)
    is_unclear = is_object & (class_ids[objects] < 0)
    return objects, torch.where(is_unclear, -2, labels)


def shared_and_areas(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Areas of intersections and of unions of boxes whose shapes broadcast."""
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp(min=0).prod(dim=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(dim=-1) for boxes in (first, second)]
    return shared, areas[0] + areas[1] - shared


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Overlaps (N, M) of boxes (N, 4) with boxes (M, 4)."""
    shared, union = shared_and_areas(first[:, None], second[None])
    return shared / union.clamp(min=1e-6)


def generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU (N,) of pairs of boxes (N, 4); Rezatofighi et al., arXiv:1902.09630."""
    shared, union = shared_and_areas(first, second)
    low = torch.minimum(first[:, :2], second[:, :2])
    high = torch.maximum(first[:, 2:], second[:, 2:])
    hull = (high - low).prod(dim=-1)
    return shared / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)


def focal_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Sum of the focal loss of logits and truth, both (N, C); Lin et al., arXiv:1708.02002."""
    losses = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    wrong = (logits.sigmoid() - truth).abs()
    weights = torch.where(truth > 0, ALPHA, 1 - ALPHA) * wrong**GAMMA
    return (weights * losses).sum()


def recipe(args: argparse.Namespace) -> Recipe:
    """The recipe of the bundled detector."""
    scenes = read_scenes(args.data, "train")

    def draw(rng: np.random.Generator, count: int) -> tuple[list[Image], list[Scene]]:
        drawn = draw_examples(scenes, args.crop, count, rng)
        return [scene.image for scene in drawn], drawn

    def last(detector: RetinaNet) -> list[nn.Module]:
        return [detector.bbox_head.retina_cls, detector.bbox_head.retina_reg]

    return Recipe("cas_vit_xs_retinanet_cards", model, last, draw, loss)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add_options(parser, size=224)
    cv2.setNumThreads(1)
    raise SystemExit(main(parser.parse_args(), recipe))
