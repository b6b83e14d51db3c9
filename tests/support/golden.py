"""Deterministic weights and inputs, and what the official code answered for them."""

from __future__ import annotations

import json
import zlib
from functools import cache

import numpy as np
import torch
from paths import DATA

from edgevit import Predictor
from edgevit.models import create

FOLDER = DATA.parent / "models" / "golden"
CAS_VIT = json.loads((FOLDER / "cas_vit.json").read_text(encoding="utf-8"))
LIGHTVIT = json.loads((FOLDER / "lightvit.json").read_text(encoding="utf-8"))
LITV2 = json.loads((FOLDER / "litv2.json").read_text(encoding="utf-8"))
FAMILIES = {"cas_vit": CAS_VIT, "lightvit": LIGHTVIT, "litv2": LITV2}
DENSE = json.loads((FOLDER / "dense.json").read_text(encoding="utf-8"))

# Smaller residual branches, so that deep networks stay in range; offsets of about one token; heads
# whose scores lie around the thresholds. The first part that a key contains counts.
GAINS = {
    "local_perception.network.4.weight": 0.3,
    "attn.dwc.weight": 0.5,
    "attn.proj.weight": 0.5,
    "mlp.fc2.weight": 0.4,
    "layers.2.downsample.dconv.conv_offset.weight": 0.35,
    "conv_offset.weight": 0.8,
    "cls_convs": 1.4,
    "reg_convs": 1.4,
    "rpn_conv": 1.4,
    "mask_head.convs": 1.4,
    "shared_fcs": 1.4,
    "retina_cls.weight": 0.6,
    "retina_reg.weight": 0.5,
    "rpn_cls.weight": 0.6,
    "rpn_reg.weight": 0.4,
    "fc_cls.weight": 1.5,
    "fc_reg.weight": 0.7,
    "conv_seg.weight": 2.0,
}

# Added to a head's bias, so that few anchors pass the score threshold.
SHIFTS = {"bbox_head.retina_cls.bias": -5.5}

# Transposed convolutions, whose weights have the input's channels first.
TRANSPOSED = ("extra_trans_convs", "upsample.weight")

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
        return (scale * noise + SHIFTS.get(key, 0.0)).astype(np.float32)
    if len(shape) == 1:
        return (1 + 0.1 * noise).astype(np.float32)
    gain = next((value for part, value in GAINS.items() if part in key), 1.0)
    fan_in = shape[0] if any(part in key for part in TRANSPOSED) else np.prod(shape[1:])
    return (gain / np.sqrt(fan_in) * noise).astype(np.float32)


def state_dict(rows: list[list]) -> dict[str, torch.Tensor]:
    """The weights of a model whose state dict has these keys and shapes."""
    return {key: torch.from_numpy(weight(key, shape)) for key, shape in rows if COMPUTED not in key}


def official_rows(cases: dict, name: str) -> list[list]:
    """Keys and shapes of a state dict, which may be given as another one's with changes."""
    case = cases[name]
    if "state_dict" in case:
        return case["state_dict"]
    changed = dict(cases[case["like"]]["state_dict"]) | case["changes"]
    return [[key, shape] for key, shape in changed.items() if shape is not None]


@cache
def expected_logits(family: str, variant: str) -> np.ndarray:
    """The official run's logits; for the few variants without any, the verified module's."""
    cases = FAMILIES[family]
    if variant in arrays(family):
        return arrays(family)[variant]
    model = create(variant).eval()
    # A strict load: the module's own state dict adds the indices that it computes.
    model.load_state_dict(model.state_dict() | state_dict(official_rows(cases, variant)))
    batch = reference_input(cases[variant]["input_shape"], cases[variant]["input_seed"])
    with torch.no_grad():
        return model.double()(torch.from_numpy(batch).double()).numpy()


def logits_error(predictor: Predictor, family: str, variant: str) -> float:
    """Largest difference of a classifier's logits, image by image, to the official run's."""
    case = FAMILIES[family][variant]
    batch = reference_input(case["input_shape"], case["input_seed"])
    logits = np.stack([predictor.infer(image[None])["logits"][0] for image in batch])
    return float(np.abs(logits - expected_logits(family, variant)).max())


def dense_rows(name: str) -> list[list]:
    """Keys and shapes of a detector's or segmenter's state dict."""
    family, backbone = DENSE[name]["backbone"]
    rows = official_rows(FAMILIES[family], backbone)
    return [[f"backbone.{key}", shape] for key, shape in rows] + DENSE[name]["state_dict"]


def dense_model(name: str) -> torch.nn.Module:
    """A detector or segmenter with the golden weights, in float64."""
    model = create(name)
    # A strict load: the module's own state dict adds the indices that it computes.
    model.load_state_dict(model.state_dict() | state_dict(dense_rows(name)))
    return model.eval().double()


def padded_image(case: dict) -> torch.Tensor:
    """A batch whose picture fills its upper left part, `image_size`; the rest is zeros."""
    batch = np.zeros(case["input_shape"])
    height, width = case["image_size"]
    image = reference_input(case["input_shape"], case["input_seed"])[..., :height, :width]
    batch[..., :height, :width] = image
    return torch.from_numpy(batch)


def kept(x: torch.Tensor, channels: int) -> np.ndarray:
    """What was kept of a map: about `channels` channels and a grid of about 8x8 places."""
    counts = (channels, 8, 8)
    steps = [max(1, side // count) for side, count in zip(x.shape[1:], counts, strict=True)]
    return x.numpy()[:, :: steps[0], :: steps[1], :: steps[2]]


def reference_input(shape: list[int], seed: int) -> np.ndarray:
    """Noise, a color cast and waves, like a normalized photo; what is no image is noise alone."""
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
