"""Deterministic weights and inputs, and what the official code answered for them."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / "golden"
CAS_VIT = json.loads((FOLDER / "cas_vit.json").read_text(encoding="utf-8"))
LIGHTVIT = json.loads((FOLDER / "lightvit.json").read_text(encoding="utf-8"))

# Smaller residual branches, so that deep networks stay in range; offsets of about one token.
GAINS = {
    "local_perception.network.4.weight": 0.3,
    "attn.dwc.weight": 0.5,
    "attn.proj.weight": 0.5,
    "mlp.fc2.weight": 0.4,
    "layers.2.downsample.dconv.conv_offset.weight": 0.35,
    "conv_offset.weight": 0.8,
}

# Standard deviations of parameters that are no weights.
SCALES = {
    "running_mean": 0.1,
    "bias": 0.1,
    "relative_position_bias_table": 0.5,
    "global_token": 1.0,
}

# What a model computes itself.
COMPUTED = "relative_position_index"


def arrays(family="cas_vit"):
    """Golden arrays by name."""
    return np.load(FOLDER / f"{family}.npz")


def weight(key: str, shape: list[int]) -> np.ndarray:
    """Values that depend on nothing but the key and the shape."""
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    if leaf == "running_var":
        return generator.uniform(0.5, 1.5, shape).astype(np.float32)
    noise = generator.standard_normal(shape)
    if leaf in SCALES:
        scale = 0.6 if key.endswith("conv_offset.bias") else SCALES[leaf]
        return (scale * noise).astype(np.float32)
    if len(shape) == 1:
        return (1 + 0.1 * noise).astype(np.float32)
    gain = next((value for part, value in GAINS.items() if part in key), 1.0)
    return (gain / np.sqrt(np.prod(shape[1:])) * noise).astype(np.float32)


def state_dict(rows: list[list]) -> dict[str, torch.Tensor]:
    """The weights of a model whose state dict has these keys and shapes."""
    return {key: torch.from_numpy(weight(key, shape)) for key, shape in rows if COMPUTED not in key}


def reference_input(shape: list[int], seed: int) -> np.ndarray:
    """Noise, a colour cast and waves, like a normalised photo; what is no image is noise alone."""
    generator = np.random.Generator(np.random.PCG64(seed))
    if len(shape) != 4 or shape[1] > 4:
        return generator.standard_normal(shape).astype(np.float32)
    batch, channels, height, width = shape
    strength = generator.uniform(0.1, 0.8, (batch, 1, 1, 1))
    values = strength * generator.standard_normal(shape)
    values += generator.normal(0, 0.7, (batch, channels, 1, 1))
    rows, columns = np.mgrid[0:height, 0:width]
    for _ in range(4):
        pace = generator.uniform(-8, 8, (batch, channels, 2, 1, 1))
        phase = generator.uniform(0, 2 * np.pi, (batch, channels, 1, 1))
        turns = pace[:, :, 0] * rows / height + pace[:, :, 1] * columns / width
        values += 0.5 * np.sin(2 * np.pi * turns + phase)
    return values.astype(np.float32)
