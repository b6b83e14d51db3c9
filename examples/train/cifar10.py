"""CIFAR-10 in memory: decoding, the hold-out, and augmentation of whole batches at once."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Split:
    """Decoded pictures and their classes.

    Args:
        images: uint8 (N, 32, 32, 3), RGB.
        labels: int64 (N,), class indices.
        class_names: one name for each index.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def select(self, rows: Tensor) -> Split:
        """The rows given by an int64 index or a bool mask over N."""
        return Split(self.images[rows], self.labels[rows], self.class_names)

    def to(self, device: torch.device) -> Split:
        """The same split with its tensors on `device`."""
        return Split(self.images.to(device), self.labels.to(device), self.class_names)


def split_file(folder: Path, name: str) -> Path:
    """Path of the archive of the "train" or "test" split.

    Raises:
        FileNotFoundError: if the archive is absent.
    """
    path = folder / f"cifar10_{name}.npz"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is absent; pass --data the folder that holds {path.name}")
    return path


def load_split(path: Path) -> Split:
    """Decode every JPEG of one .npz file.

    Args:
        path: archive with `jpeg` (uint8, all files joined), `offsets` (int64, N + 1), `labels`
            (uint8, N) and `classes` (class names in index order).
    """
    with np.load(path) as archive:
        joined, offsets = archive["jpeg"], archive["offsets"]
        labels = torch.from_numpy(archive["labels"].astype(np.int64))
        class_names = tuple(str(name) for name in archive["classes"])
    images = np.empty((len(labels), 32, 32, 3), np.uint8)
    for index, (start, stop) in enumerate(itertools.pairwise(offsets)):
        images[index] = Image.open(io.BytesIO(joined[start:stop].tobytes())).convert("RGB")
    return Split(torch.from_numpy(images), labels, class_names)


def split_holdout(split: Split, count: int) -> tuple[Split, Split]:
    """Divide into (training, hold-out), taking `count` rows at even distances for the latter."""
    if count == 0:
        return split, split.select(torch.arange(0))
    held = torch.zeros(len(split.labels), dtype=torch.bool)
    held[torch.arange(count) * len(split.labels) // count] = True
    return split.select(~held), split.select(held)


def normalize(images: Tensor, size: int) -> Tensor:
    """Resize and normalize as the deployed model's preprocessing does.

    Args:
        images: uint8 (B, H, W, 3), RGB.
        size: height and width of the result.

    Returns:
        float32 (B, 3, size, size), channels last in memory. The antialiased bicubic filter is the
        one of Pillow's `Image.resize`, and rounds to whole levels like it.
    """
    batch = images.permute(0, 3, 1, 2)  # (B, H, W, 3) -> (B, 3, H, W)
    if batch.shape[-2:] != (size, size):
        batch = _resize(batch, size)
    mean = torch.tensor(MEAN, device=batch.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=batch.device).view(1, 3, 1, 1)
    return ((batch / 255.0 - mean) / std).contiguous(memory_format=torch.channels_last)


def _resize(batch: Tensor, size: int) -> Tensor:
    """Antialiased bicubic resize of uint8 (B, 3, H, W); CUDA has no kernel for uint8."""
    resize = partial(functional.interpolate, size=(size, size), mode="bicubic", antialias=True)
    if batch.device.type == "cpu":
        return resize(batch)
    return resize(batch.float()).round_().clamp_(0, 255)


def shift_and_flip(images: Tensor, is_flipped: Tensor, max_shift: int) -> Tensor:
    """Move each picture by up to `max_shift` pixels each way and mirror the chosen ones.

    Args:
        images: uint8 (B, H, W, 3).
        is_flipped: bool (B,), which pictures to mirror left to right.
        max_shift: largest shift in pixels; what leaves is filled by reflection.

    Returns:
        uint8 (B, H, W, 3).
    """
    count, height, width, _ = images.shape
    rows = _shifted(count, height, max_shift, images.device)
    columns = _shifted(count, width, max_shift, images.device)
    columns = torch.where(is_flipped[:, None], columns.flip(1), columns)
    pictures = torch.arange(count, device=images.device)[:, None, None]
    return images[pictures, rows[:, :, None], columns[:, None, :]]


def _shifted(count: int, length: int, max_shift: int, device: torch.device) -> Tensor:
    """Source index of each place after a random shift, reflected at the ends: int64 (B, length)."""
    shift = torch.randint(-max_shift, max_shift + 1, (count, 1), device=device)
    last = length - 1
    return last - (last - (torch.arange(length, device=device) + shift).abs()).abs()


def cutout(batch: Tensor, fraction: float) -> Tensor:
    """Set one random square of each picture to zero, the mean color.

    Args:
        batch: float (B, 3, H, W), normalized.
        fraction: side of the square over the side of the picture.
    """
    sides = torch.full((len(batch), 1), fraction, device=batch.device)
    return batch.masked_fill(_random_squares(batch, sides), 0.0)


def cutmix(batch: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Paste a random square of the picture at the other end of the batch into some pictures.

    Args:
        batch: float (B, 3, H, W).
        share: how many of the pictures get one.

    Returns:
        The pictures, and float (B,), how much of each is still its own; the rest is that of
        `batch.flip(0)`.
    """
    areas = torch.rand(len(batch), 1, device=batch.device)
    areas *= torch.rand(len(batch), 1, device=batch.device) < share
    is_pasted = _random_squares(batch, areas.sqrt())
    return torch.where(is_pasted, batch.flip(0), batch), 1 - is_pasted.float().mean(dim=(1, 2, 3))


def _random_squares(batch: Tensor, sides: Tensor) -> Tensor:
    """Bool (B, 1, H, W), true inside one square each; float (B, 1) sides over the picture's."""
    count, _, height, width = batch.shape
    rows = _inside_window(count, height, sides)
    columns = _inside_window(count, width, sides)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _inside_window(count: int, length: int, fractions: Tensor) -> Tensor:
    """Bool (B, length), true inside one window per row, its center anywhere."""
    center = torch.rand(count, 1, device=fractions.device) * length
    places = torch.arange(length, device=fractions.device) + 0.5
    return (places - center).abs() < fractions * length / 2
