"""ModelSpec: everything about a model that its graph does not say.

One JSON document travels in the ONNX file under `metadata_props["edgevit.spec"]`. It is parsed
strictly: an unknown key, a missing key, a wrong type or a newer schema is a SpecError, because a
preprocessing value that is silently defaulted is a wrong answer that looks right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgevit.core.model.heads import parse_head
from edgevit.core.model.test_vector import TestVector
from edgevit.core.records import (
    is_int,
    is_number,
    parse_record,
    require,
    require_choice,
    require_numbers,
    require_text,
    strict_record,
    with_defaults,
    without_defaults,
)
from edgevit.errors import SpecError

Color = Literal["rgb", "bgr"]
Mode = Literal["exact", "fast"]

SCHEMA = 1
METADATA_KEY = "edgevit.spec"

TASKS = ("classify", "detect", "segment")
INTERPOLATIONS = ("bicubic", "bilinear", "lanczos", "box")
RESIZE_RULES = ("shorter", "stretch", "letterbox")
PREPROCESS_MODES: tuple[Mode, Mode] = ("exact", "fast")
COLOR_ORDERS: tuple[Color, Color] = ("rgb", "bgr")

# Keys of a provenance that a document has only where they are of other values than these.
OPTIONAL = {"precision": "fp32"}

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
        resize: `shorter` scales the shorter side to `int(size / crop_pct)` and crops the centre;
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
        require_numbers("input.size", self.size, 2, lambda side: isinstance(side, int) and side > 0)
        require_numbers("input.mean", self.mean, 3, np.isfinite)
        require_numbers("input.std", self.std, 3, lambda std: np.isfinite(std) and std > 0)
        require_choice("input.interpolation", self.interpolation, INTERPOLATIONS)
        require_choice("input.resize", self.resize, RESIZE_RULES)
        require_choice("input.color_order", self.color_order, COLOR_ORDERS)
        require_choice("input.preprocess", self.preprocess, PREPROCESS_MODES)
        require(
            is_number(self.crop_pct) and 0 < self.crop_pct <= 1,
            f"input.crop_pct must be in (0, 1], not {self.crop_pct!r}",
        )
        require(
            self.resize == "shorter" or self.crop_pct == 1,
            f"input.crop_pct must be 1 with resize {self.resize!r}, which crops nothing, "
            f"not {self.crop_pct!r}",
        )
        require(
            is_int(self.pad_value) and 0 <= self.pad_value <= 255,
            f"input.pad_value must be a whole number from 0 to 255, not {self.pad_value!r}",
        )


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the weights came from.

    Args:
        checkpoint_sha256: hex digest of the checkpoint file; None for freshly initialised weights.
        weights: which of the checkpoint's weights were taken, `model` or `ema`; None for fresh.
        exporter: name and version of the program that wrote the file.
        precision: what the graph computes in, `fp32` or `fp16`.
    """

    checkpoint_sha256: str | None
    weights: str | None
    exporter: str
    precision: str = "fp32"

    def __post_init__(self) -> None:
        for name in ("checkpoint_sha256", "weights"):
            value = getattr(self, name)
            require(
                value is None or isinstance(value, str),
                f"provenance.{name} must be text or null, not {value!r}",
            )
        require_text("provenance.exporter", self.exporter)
        require_text("provenance.precision", self.precision)


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
            require_text(name, getattr(self, name))
        require_choice("task", self.task, TASKS)
        require(
            isinstance(self.class_names, tuple)
            and len(self.class_names) > 0
            and all(isinstance(name, str) and name for name in self.class_names),
            "class_names must be a list of one or more texts",
        )
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
            "provenance": without_defaults(asdict(self.provenance), OPTIONAL)
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
        record = strict_record(data, ("schema", *(field.name for field in fields(cls))), "the spec")
        provenance, test_vector = record["provenance"], record["test_vector"]
        require(isinstance(record["class_names"], list), "class_names must be a list")
        return cls(
            name=record["name"],
            family=record["family"],
            variant=record["variant"],
            task=record["task"],
            input=parse_record(InputSpec, record["input"], "input"),
            class_names=tuple(record["class_names"]),
            head=record["head"],
            provenance=None
            if provenance is None
            else parse_record(Provenance, with_defaults(provenance, OPTIONAL), "provenance"),
            test_vector=None if test_vector is None else TestVector.from_dict(test_vector),
        )

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Parse the document that travels in the ONNX file.

        Raises:
            SpecError: if it is not JSON, or not a ModelSpec.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise SpecError(f"the spec is not JSON: {exc}") from exc
        return cls.from_dict(data)

    @classmethod
    def from_yaml(cls, path: str | Path) -> ModelSpec:
        """Read a spec from a YAML (or JSON) file with the same keys.

        Raises:
            SpecError: if the file cannot be read, is not plain YAML, or is not a ModelSpec.
        """
        from edgevit.core.model.yaml_file import (
            read_yaml,  # PyYAML costs every start 15 ms, used rarely
        )

        return cls.from_dict(read_yaml(Path(path)))


def _require_schema(data: object) -> None:
    schema = data.get("schema", SCHEMA) if isinstance(data, dict) else SCHEMA
    require(is_int(schema), f"schema must be a whole number, not {schema!r}")
    require(
        schema <= SCHEMA,
        f"the spec has schema {schema}, this edgevit reads up to {SCHEMA}; upgrade edgevit",
    )
    require(schema >= 1, f"schema must be from 1 to {SCHEMA}, not {schema!r}")
