"""ModelSpec: everything about a model that its graph does not say.

One JSON document travels in the ONNX file under `metadata_props["edgevit.spec"]`. It is parsed
strictly: an unknown key, a missing key, a wrong type or a newer schema is a SpecError, because a
preprocessing value that is silently defaulted is a wrong answer that looks right.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgevit.core.errors import SpecError
from edgevit.core.heads import parse_head
from edgevit.core.strict import (
    is_int,
    is_number,
    parse_record,
    require,
    require_choice,
    require_numbers,
    require_text,
    strict_record,
)

Color = Literal["rgb", "bgr"]
Mode = Literal["exact", "fast"]

SCHEMA = 1
METADATA_KEY = "edgevit.spec"

TASKS = ("classify", "detect", "segment")
INTERPOLATIONS = ("bicubic", "bilinear", "lanczos", "box")
RESIZE_RULES = ("shorter", "stretch", "letterbox")
PREPROCESS_MODES: tuple[Mode, Mode] = ("exact", "fast")
COLOR_ORDERS: tuple[Color, Color] = ("rgb", "bgr")

OUTPUT_TOLERANCE = 1e-3  # relative to the largest output; float32 kernels differ by 1e-5

# Keys that a document has only where they are of other values than these.
OPTIONAL = {"precision": "fp32", "tolerance": OUTPUT_TOLERANCE}

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


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Every `stride`-th value of an array, to compare arrays without storing them.

    Args:
        shape: of the whole array.
        stride: distance between two kept values in the flattened array (C order).
        values: float32 (ceil(size / stride),).
    """

    shape: tuple[int, ...]
    stride: int
    values: NDArray[np.float32]

    @classmethod
    def of(cls, array: NDArray[np.floating], limit: int = 1024) -> Samples:
        """Sample an array, keeping at most `limit` values."""
        stride = max(1, -(-array.size // limit))
        return cls(array.shape, stride, array.reshape(-1)[::stride].astype(np.float32))

    def error(self, array: NDArray[np.floating]) -> float:
        """Largest absolute difference to another array of the same shape.

        Returns:
            The difference; infinity where the shape differs or a value is not finite.
        """
        if array.shape != self.shape:
            return float("inf")
        difference = np.abs(array.reshape(-1)[:: self.stride].astype(np.float64) - self.values)
        return float(np.max(np.where(np.isfinite(difference), difference, np.inf)))

    def changed(self, array: NDArray[np.integer]) -> float:
        """Share of the kept values, 0-1, that another array has otherwise; 1 for another shape."""
        if array.shape != self.shape:
            return 1.0
        return float(np.mean(array.reshape(-1)[:: self.stride] != self.values))

    def to_dict(self) -> dict[str, Any]:
        """Describe as JSON values; `values` as base64 of little-endian float32."""
        encoded = base64.b64encode(self.values.astype("<f4").tobytes()).decode()
        return {"shape": list(self.shape), "stride": self.stride, "values": encoded}

    @classmethod
    def from_dict(cls, data: object, where: str) -> Samples:
        """Parse what `to_dict` made; `where` names the place in messages."""
        record = strict_record(data, ("shape", "stride", "values"), where)
        shape, stride = record["shape"], record["stride"]
        require(
            isinstance(shape, list) and all(is_int(side) and side >= 0 for side in shape),
            f"{where}.shape must be a list of whole numbers, not {shape!r}",
        )
        require(is_int(stride) and stride > 0, f"{where}.stride must be positive, not {stride!r}")
        values = np.frombuffer(_unbase64(record["values"], f"{where}.values"), "<f4")
        expected = -(-int(np.prod(shape)) // stride)
        require(
            values.size == expected, f"{where}.values holds {values.size} values, not {expected}"
        )
        return cls(tuple(shape), stride, values.astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class TestVector:
    """A small image and what preprocessing and the graph must answer for it.

    Args:
        image: uint8 (H, W, 3), BGR.
        batch: samples of the preprocessed batch, float32 (1, 3, height, width), mode `exact`.
        outputs: samples of each graph output for that batch, by output name.
        tolerance: how far an output may be from these on a device that computes rightly, relative
            to the largest; of class ids, the share that may differ.
    """

    __test__ = False  # not a pytest class

    image: NDArray[np.uint8]
    batch: Samples
    outputs: Mapping[str, Samples]
    tolerance: float = OUTPUT_TOLERANCE

    def __post_init__(self) -> None:
        require(
            is_number(self.tolerance) and 0 < self.tolerance < 1,
            f"test_vector.tolerance must be in (0, 1), not {self.tolerance!r}",
        )

    def to_dict(self) -> dict[str, Any]:
        """Describe as JSON values."""
        height, width, _ = self.image.shape
        record = {
            "image": {
                "size": [height, width],
                "bgr": base64.b64encode(self.image.tobytes()).decode(),
            },
            "batch": self.batch.to_dict(),
            "outputs": {name: samples.to_dict() for name, samples in self.outputs.items()},
            "tolerance": self.tolerance,
        }
        return _shortened(record)

    @classmethod
    def from_dict(cls, data: object) -> TestVector:
        """Parse what `to_dict` made."""
        names = ("image", "batch", "outputs", "tolerance")
        record = strict_record(_completed(data, "tolerance"), names, "test_vector")
        image = strict_record(record["image"], ("size", "bgr"), "test_vector.image")
        size = image["size"]
        require_numbers("test_vector.image.size", size, 2, lambda side: is_int(side) and side > 0)
        pixels = np.frombuffer(_unbase64(image["bgr"], "test_vector.image.bgr"), np.uint8)
        require(
            pixels.size == size[0] * size[1] * 3,
            f"test_vector.image.bgr holds {pixels.size} bytes, not {size[0]} x {size[1]} x 3",
        )
        outputs = record["outputs"]
        require(isinstance(outputs, dict), "test_vector.outputs must be a mapping")
        return cls(
            pixels.reshape(size[0], size[1], 3),
            Samples.from_dict(record["batch"], "test_vector.batch"),
            {
                name: Samples.from_dict(samples, f"test_vector.outputs.{name}")
                for name, samples in outputs.items()
            },
            record["tolerance"],
        )


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
        head: parameters of the task's decoding, see `edgevit.core.heads`; empty for `classify`.
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
            "provenance": _shortened(asdict(self.provenance)) if self.provenance else None,
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
            else parse_record(Provenance, _completed(provenance, "precision"), "provenance"),
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
        from edgevit.core.yaml_file import read_yaml  # PyYAML costs every start 15 ms, used rarely

        return cls.from_dict(read_yaml(Path(path)))


def _shortened(record: dict[str, Any]) -> dict[str, Any]:
    """A record without keys that say what is true anyway."""
    return {
        key: value for key, value in record.items() if key not in OPTIONAL or OPTIONAL[key] != value
    }


def _completed(data: object, key: str) -> object:
    """A record with a key that it need not have."""
    return {key: OPTIONAL[key], **data} if isinstance(data, dict) else data


def _require_schema(data: object) -> None:
    schema = data.get("schema", SCHEMA) if isinstance(data, dict) else SCHEMA
    require(is_int(schema), f"schema must be a whole number, not {schema!r}")
    require(
        schema <= SCHEMA,
        f"the spec has schema {schema}, this edgevit reads up to {SCHEMA}; upgrade edgevit",
    )
    require(schema >= 1, f"schema must be from 1 to {SCHEMA}, not {schema!r}")


def _unbase64(text: object, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)  # type: ignore[arg-type]  # not text: below
    except (TypeError, ValueError, binascii.Error) as exc:
        raise SpecError(f"{where} is not base64: {exc}") from exc
