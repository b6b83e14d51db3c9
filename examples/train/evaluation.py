"""Test a trained classifier on CIFAR-10: top-1 overall, for each class, and as float16.

Reads the slim file or the whole checkpoint that `train_cifar10.py` wrote.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from cifar10 import Split, load_split, normalize, split_file
from torch import Tensor, nn

from edgevit.errors import EdgeVitError, ExportError
from edgevit.export.checkpoint.weights import load_strictly, read_checkpoint
from edgevit.models.cas_vit import CONFIGS, CASViT

BATCH_SIZE = 250

StateDict = Mapping[str, Tensor]
Results = dict[str, Any]  # Any: numbers, text, and numbers by name


@torch.no_grad()
def predict(model: nn.Module, split: Split, size: int) -> Tensor:
    """Class indices without test-time augmentation.

    Args:
        model: maps float (B, 3, size, size) to logits (B, classes); put into evaluation mode.
        split: N pictures, on the device of the model.
        size: height and width of the network's input.

    Returns:
        int64 (N,).
    """
    model.eval()
    chunks = split.images.split(BATCH_SIZE)
    return torch.cat([model(normalize(images, size)).argmax(dim=1) for images in chunks])


def top1(predicted: Tensor, labels: Tensor) -> float:
    """Share of right answers, in percent, of int64 (N,) predictions and labels."""
    return 100 * (predicted == labels).double().mean().item()


def top1_by_class(predicted: Tensor, split: Split) -> dict[str, float]:
    """Share of right answers, in percent, among the pictures of each class."""
    return {
        name: top1(predicted[split.labels == index], split.labels[split.labels == index])
        for index, name in enumerate(split.class_names)
    }


def evaluate(checkpoint: Path, split: Split, *, model: str, size: int) -> Results:
    """Test the weights of a checkpoint file.

    Args:
        checkpoint: file with EMA weights; raw weights are tested too if it has them.
        split: N pictures, on the device to use.
        model: name of the variant, a key of `CONFIGS`.
        size: height and width of the network's input.

    Returns:
        Figures for JSON; every top-1 is in percent.

    Raises:
        ModelNotFoundError: if there is no such file.
        ExportError: if it has no EMA weights, or those of another model.
    """
    network = CASViT(CONFIGS[model], len(split.class_names)).to(split.images.device)
    network.to(memory_format=torch.channels_last)

    def answers(weights: StateDict) -> Tensor:
        load_strictly(network, weights)
        return predict(network, split, size)

    ema, raw = read_checkpoint(checkpoint, weights="ema").state_dict, raw_weights(checkpoint)
    predicted = answers(ema)
    return {
        "test_images": len(split.labels),
        "size": size,
        "top1_ema": top1(predicted, split.labels),
        "top1_ema_float16": top1(answers(rounded_to_float16(ema)), split.labels),
        "top1_raw": top1(answers(raw), split.labels) if raw else None,
        "top1_ema_by_class": top1_by_class(predicted, split),
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "torch": torch.__version__,
    }


def raw_weights(checkpoint: Path) -> StateDict | None:
    """The weights that are not averaged; None for a slim file."""
    try:
        return read_checkpoint(checkpoint, weights="model").state_dict
    except ExportError:
        return None


def rounded_to_float16(weights: StateDict) -> StateDict:
    """The weights as a file of half the size would keep them, in their own dtype."""
    return {
        name: value.half().to(value.dtype) if value.is_floating_point() else value
        for name, value in weights.items()
    }


def describe(results: Results) -> str:
    """Results of `evaluate` for reading, a figure on each line."""
    lines = [f"top-1 over {results['test_images']} test pictures at {results['size']} px:"]
    for name, text in (("ema", "EMA"), ("ema_float16", "EMA as float16"), ("raw", "raw")):
        value = results[f"top1_{name}"]
        lines += [f"  {text:<14} {value:6.2f} %"] if value is not None else []
    by_class = results["top1_ema_by_class"]
    lines += [f"    {name:<12} {value:6.2f} %" for name, value in by_class.items()]
    return "\n".join(lines)


def write_json(results: Results, path: Path) -> None:
    """Write results as indented JSON."""
    path.write_text(json.dumps(results, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with cifar10_test.npz")
    add("--checkpoint", type=Path, required=True, help="file that train_cifar10.py wrote")
    add("--model", choices=sorted(CONFIGS), default="cas_vit_xs", help="variant in the file")
    add("--size", type=int, default=64, help="picture size")
    add("--json", type=Path, help="file for the results")
    return parser.parse_args()


def main() -> int:
    """Entry point: 0 when done, 1 for a file that is absent or does not fit."""
    args = parse_arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        split = load_split(split_file(args.data, "test")).to(device)
        results = evaluate(args.checkpoint, split, model=args.model, size=args.size)
    except (FileNotFoundError, EdgeVitError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.json:
        write_json(results, args.json)
    print(describe(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
