"""Train a small Semantic FPN on CamVid; README.md beside this file gives the command."""

from __future__ import annotations

import argparse

import cv2
import numpy as np
import torch
from augment import Image
from camvid import IGNORED, NUM_CLASSES, class_weights, draw_example, read_streets
from dense_trainer import Recipe, add_options, main
from torch import Tensor, nn
from torch.nn import functional

from edgevit.models.semantic_fpn import SemanticFPN, semantic_fpn

OVERLAP_WEIGHT = 0.5  # of the soft IoU beside the cross-entropy


def model(backbone: nn.Module) -> SemanticFPN:
    """The bundled segmenter's shape: 64 channels in the neck and in the head."""
    return semantic_fpn(backbone, NUM_CLASSES, channels=64, head_channels=64)


def loss(logits: Tensor, targets: list[Image], weights: Tensor) -> Tensor:
    """Weighted cross-entropy plus one minus the mean soft IoU, both at the labels' resolution."""
    labels = torch.from_numpy(np.stack(targets)).long()
    logits = functional.interpolate(
        logits, size=labels.shape[1:], mode="bilinear", align_corners=False
    )
    entropy = functional.cross_entropy(logits, labels, weights, ignore_index=IGNORED)
    return entropy + OVERLAP_WEIGHT * (1 - soft_iou(logits, labels))


def soft_iou(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the classes present of the IoU with probabilities for the prediction."""
    is_counted = labels != IGNORED
    scores = logits.softmax(dim=1).permute(0, 2, 3, 1)[is_counted]  # (N, C)
    found = labels[is_counted]
    counts = torch.bincount(found, minlength=NUM_CLASSES)
    own = scores.gather(1, found[:, None])[:, 0]
    shared = scores.new_zeros(NUM_CLASSES).index_add(0, found, own)
    overlaps = shared / (scores.sum(dim=0) + counts - shared).clamp(min=1)
    return overlaps[counts > 0].mean()


def recipe(args: argparse.Namespace) -> Recipe:
    """The recipe of the bundled segmenter."""
    streets = read_streets(args.data, args.splits)
    weights = torch.from_numpy(class_weights(streets))

    def draw(rng: np.random.Generator, count: int) -> tuple[list[Image], list[Image]]:
        drawn = [draw_example(streets, args.crop, rng) for _ in range(count)]
        return [street.image for street in drawn], [street.labels for street in drawn]

    def weighted_loss(logits: Tensor, targets: list[Image]) -> Tensor:
        return loss(logits, targets, weights)

    def last(segmenter: SemanticFPN) -> list[nn.Module]:
        return [segmenter.decode_head.conv_seg]

    return Recipe("cas_vit_xs_semantic_fpn_camvid", model, last, draw, weighted_loss)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add_options(parser, size=224)
    parser.add_argument("--splits", nargs="+", default=["train", "val"], help="what to train on")
    cv2.setNumThreads(1)
    raise SystemExit(main(parser.parse_args(), recipe))
