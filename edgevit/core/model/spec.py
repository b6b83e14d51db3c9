"""ModelSpec: everything about a model that its graph does not say.

One JSON document travels in the ONNX file under `metadata_props["edgevit.spec"]`. It is parsed
strictly: an unknown key, a missing key, a wrong type or a newer schema is a SpecError, because a
preprocessing value that is silently defaulted is a wrong answer that looks right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from edgevit.core import records
from edgevit.core.model.task import parse_head
from edgevit.core.model.test_vector import TestVector

Color = Literal["rgb", "bgr"]
Mode = Literal["exact", "fast"]

SCHEMA = 1
METADATA_KEY = "edgevit.spec"

INTERPOLATIONS = ("bicubic", "bilinear", "lanczos", "box")
RESIZE_RULES = ("shorter", "stretch", "letterbox")
PREPROCESS_MODES: tuple[Mode, Mode] = ("exact", "fast")
COLOR_ORDERS: tuple[Color, Color] = ("rgb", "bgr")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How an image becomes the network's input.

    Args:
        size: network input (height, width) in pixels.
        mean: of each channel in `color_order`, on the 0-1 scale.
        std: of each channel in `color_order`, on the 0-1 scale.
        interpolation: `bicubic`, `bilinear`, `lanczos` or `box`, Pillow's antialiased filters.
        resize: `shorter` scales the shorter side to `int(size / crop_pct)` and crops the center;
            `stretch` scales both sides to `size`; `letterbox` keeps the aspect ratio and pads.
        crop_pct: share of the scaled shorter side that the crop keeps, in (0, 1]; 1 for the other
            two rules.
        pad_value: 0-255, what letterbox pads with, a crop beyond the image shows, and an alpha
            channel is composited on.
        color_order: channel order that the network was trained with, `rgb` or `bgr`.
        preprocess: mode used where the caller names none, `exact` or `fast`.
    """

    size: tuple[int, int]
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    interpolation: str = "bicubic"
    resize: str = "shorter"
    crop_pct: float = 0.875
    pad_value: int = 0
    color_order: str = "rgb"
    preprocess: str = "exact"

    def __post_init__(self) -> None:
        crop_pct, pad_value = self.crop_pct, self.pad_value
        records.require_numbers("size", self.size, records.is_count, 2)
        records.require_numbers("mean", self.mean, records.is_finite, 3)
        records.require_numbers("std", self.std, records.is_positive, 3)
        records.require_choice("interpolation", self.interpolation, INTERPOLATIONS)
        records.require_choice("resize", self.resize, RESIZE_RULES)
        records.require_choice("color_order", self.color_order, COLOR_ORDERS)
        records.require_choice("preprocess", self.preprocess, PREPROCESS_MODES)
        in_range = records.is_number(crop_pct) and 0 < crop_pct <= 1
        records.require_value("crop_pct", crop_pct, in_range, "in (0, 1]")
        uncropped = f"1 with resize {self.resize!r}, which crops nothing"
        records.require_value(
            "crop_pct", crop_pct, self.resize == "shorter" or crop_pct == 1, uncropped
        )
        is_byte = records.is_int(pad_value) and 0 <= pad_value <= 255
        records.require_value("pad_value", pad_value, is_byte, "a whole number from 0 to 255")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the weights came from.

    Args:
        checkpoint_sha256: hex digest of the checkpoint file; None for freshly initialized weights.
        weights: which of the checkpoint's weights were taken, `model` or `ema`; None for fresh.
        exporter: name and version of the program that wrote the file.
        precision: what the graph computes in, `fp32` or `fp16`.
    """

    checkpoint_sha256: str | None
    weights: str | None
    exporter: str
    precision: str = field(default="fp32", metadata=records.OPTIONAL)

    def __post_init__(self) -> None:
        records.require_text("exporter", self.exporter)
        records.require_text("precision", self.precision)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a model is, what it takes and how its outputs are read.

    Args:
        name: model name, e.g. `cas_vit_xs_cifar10`.
        family: e.g. `cas_vit`.
        variant: e.g. `cas_vit_xs`.
        task: `classify`, `detect` or `segment`.
        input: how an image becomes the network's input.
        class_names: name of each class id, in order.
        head: parameters of the task's decoding, see `edgevit.core.model.heads`; empty for
            `classify`.
        provenance: where the weights came from; None where nobody knows.
        test_vector: what the model must answer for a small image; None where it was not recorded.
    """

    name: str
    family: str
    variant: str
    task: str
    input: InputSpec
    class_names: tuple[str, ...]
    head: Mapping[str, Any]
    provenance: Provenance | None = None
    test_vector: TestVector | None = None

    def __post_init__(self) -> None:
        for name in ("name", "family", "variant"):
            records.require_text(name, getattr(self, name))
        is_list = isinstance(self.class_names, tuple) and len(self.class_names) > 0
        records.require_value(
            "class_names", self.class_names, is_list, "a list of one or more texts"
        )
        for index, name in enumerate(self.class_names):
            records.require_text(f"class_names[{index}]", name)
        parse_head(self.task, self.head)

    def with_test_vector(self, test_vector: TestVector) -> ModelSpec:
        """Copy with another test vector."""
        return replace(self, test_vector=test_vector)

    def to_dict(self) -> dict[str, Any]:
        """Describe as JSON values, `schema` first."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "family": self.family,
            "variant": self.variant,
            "task": self.task,
            "input": asdict(self.input),
            "class_names": list(self.class_names),
            "head": dict(self.head),
            "provenance": records.without_defaults(Provenance, asdict(self.provenance))
            if self.provenance
            else None,
            "test_vector": self.test_vector.to_dict() if self.test_vector else None,
        }

    def to_json(self) -> str:
        """Write the document that travels in the ONNX file."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    @classmethod
    def from_dict(cls, data: object) -> ModelSpec:
        """Parse a document strictly.

        Raises:
            SpecError: naming the key that is unknown, missing or wrong.
        """
        _require_schema(data)
        return records.parse(cls, data, "spec", beside=("schema",))

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Parse the document that travels in the ONNX file.

        Raises:
            SpecError: if it is not JSON, or not a ModelSpec.
        """
        return cls.from_dict(records.parse_json(text, "the spec"))

    @classmethod
    def from_yaml(cls, path: str | Path) -> ModelSpec:
        """Read a spec from a YAML (or JSON) file with the same keys.

        Raises:
            SpecError: if the file cannot be read, is not plain YAML, or is not a ModelSpec.
        """
        from edgevit.core.model.yaml_file import read_yaml  # PyYAML costs a start 15 ms

        return cls.from_dict(read_yaml(Path(path)))


def _require_schema(data: object) -> None:
    schema = data.get("schema", SCHEMA) if isinstance(data, dict) else SCHEMA
    records.require_value("spec.schema", schema, records.is_int(schema), "a whole number")
    records.require(
        schema <= SCHEMA,
        f"the spec has schema {records.shown(schema)}, this edgevit reads up to {SCHEMA}; "
        "upgrade edgevit",
    )
    records.require_value("spec.schema", schema, schema >= 1, f"from 1 to {SCHEMA}")
