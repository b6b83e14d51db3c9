"""What quantizing did."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgevit.convert.int8.target import Speed
from edgevit.core.model.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class LayerSensitivity:
    """What one layer costs when it alone is quantized.

    Args:
        layer: name of its weight.
        multiply_adds: for one image.
        error: relative error of the model's answers, see `compare.Difference`.
        agreement: share of the places whose best class stays, 0-1.
        precision: `int8`, or `fp32` where it was left in floating point.
    """

    layer: str
    multiply_adds: int
    error: float
    agreement: float
    precision: str


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The data set's figure before and after, 0-1.

    Args:
        metric: `top1`, `bbox_AP` or `mIoU`.
        before: of the float32 file.
        after: of the quantized one.
        images: number of images.
        data: folder of the data set.
    """

    metric: str
    before: float
    after: float
    images: int
    data: str

    @property
    def drop(self) -> float:
        """What was lost, in points (hundredths)."""
        return 100 * (self.before - self.after)


@dataclass(frozen=True, slots=True)
class QuantizationReport:
    """What `quantize` did.

    Args:
        path: the file written.
        source: the file it was made of.
        spec: the spec embedded in it.
        images: images that calibrated it.
        skipped: images that could not be read, and why.
        backend: whose form the file has, see `edgevit.convert.int8.target`.
        speeds: what was measured to choose it; empty where the caller chose.
        rule: how ranges were chosen: `minmax`, `percentile` or `entropy`.
        rules: relative error of the model's answers with each rule that was tried.
        bias_correction: relative error without and with it; it was kept where it is less with it.
        layers: every layer that could be quantized, in the order of the graph.
        error: relative error of the answers to the calibration images.
        agreement: share of their places whose best class stays, 0-1.
        accuracy: before and after, where data was given.
        size_bytes: size of the file.
        notes: what the user should know, one sentence each.
    """

    path: Path
    source: Path
    spec: ModelSpec
    images: int
    skipped: Mapping[str, str]
    backend: str
    speeds: Mapping[str, Speed]
    rule: str
    rules: Mapping[str, float]
    bias_correction: tuple[float, float]
    layers: Sequence[LayerSensitivity]
    error: float
    agreement: float
    accuracy: Accuracy | None
    size_bytes: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Describe as JSON values; the spec by its name alone."""
        values: dict[str, Any] = {
            "path": str(self.path),
            "source": str(self.source),
            "model": self.spec.name,
            "images": self.images,
            "skipped": dict(self.skipped),
            "backend": self.backend,
            "speeds": {name: asdict(speed) for name, speed in self.speeds.items()},
            "rule": self.rule,
            "rules": dict(self.rules),
            "bias_correction": list(self.bias_correction),
            "layers": [asdict(layer) for layer in self.layers],
            "error": self.error,
            "agreement": self.agreement,
            "accuracy": None if self.accuracy is None else asdict(self.accuracy),
            "size_bytes": self.size_bytes,
            "notes": list(self.notes),
        }
        if self.accuracy is not None:
            values["accuracy"]["drop"] = self.accuracy.drop
        return values
