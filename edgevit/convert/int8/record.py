"""What a quantised file says about itself: its spec, its test vector, how it was calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgevit import __version__
from edgevit.convert.graph import to_proto
from edgevit.convert.int8.images import Calibration
from edgevit.convert.metadata import embed_spec
from edgevit.convert.session import Feeds, runner
from edgevit.core.image.preprocessor import Preprocessor
from edgevit.core.model.spec import ModelSpec, Provenance
from edgevit.core.model.test_vector import Samples, TestVector
from edgevit.core.runtime.registry import backend_names
from edgevit.errors import BackendError
from edgevit.predictor import Predictor

# Runtimes round integers alike but sum and activate in their own order, which moves values across a
# level now and then; a kernel that overflows is wrong by more than all of it.
MARGIN = 2.0
LEAST_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class Record:
    """What the float32 file says.

    Args:
        spec: its spec, with the new name.
        feeds: the graph's inputs for its test vector; None where it has none.
    """

    spec: ModelSpec
    feeds: Feeds | None

    @classmethod
    def of(cls, predictor: Predictor, name: str) -> Record:
        """Read it from a loaded model."""
        spec = replace(predictor.spec, name=name)
        if spec.test_vector is None:
            return cls(spec, None)
        batch = np.empty((1, 3, *spec.input.size), np.float32)
        geometry = Preprocessor(spec.input, mode="exact")(spec.test_vector.image, batch[0])
        feeds = predictor.feeds(batch, image_size=geometry.filled_size, score_threshold=0.0)
        return cls(spec, {key: np.array(value) for key, value in feeds.items()})


@dataclass(frozen=True, slots=True)
class Finished:
    """A quantised file.

    Args:
        content: its bytes.
        spec: the spec embedded in it; a device may be as far from its test vector as `MARGIN` says.
    """

    content: bytes
    spec: ModelSpec


def finished_model(
    model: ir.Model, record: Record, rule: str, calibration: Calibration
) -> Finished:
    """Give a quantised graph its spec, and a test vector measured with it.

    Args:
        model: the quantised graph.
        record: what the float32 file says.
        rule: how ranges were chosen.
        calibration: the pictures.
    """
    pictures = len(calibration.batches)
    spec = replace(
        record.spec,
        provenance=_provenance(record.spec.provenance, rule, pictures),
        test_vector=_measured(model, record),
    )
    if spec.test_vector is not None and record.feeds is not None:
        errors = _errors_of_backends(_content(model, spec), spec.test_vector, record.feeds)
        tolerance = max(LEAST_TOLERANCE, *(round(MARGIN * error, 4) for error in errors))
        spec = replace(spec, test_vector=replace(spec.test_vector, tolerance=tolerance))
    return Finished(_content(model, spec), spec)


def _provenance(before: Provenance | None, rule: str, pictures: int) -> Provenance:
    said = f"edgevit {__version__}, int8 calibrated on {pictures} pictures ({rule})"
    if before is None:
        return Provenance(None, None, said, precision="int8")
    return replace(before, exporter=f"{before.exporter}; {said}", precision="int8")


def _measured(model: ir.Model, record: Record) -> TestVector | None:
    """The float32 file's test vector with the quantised graph's answers."""
    vector = record.spec.test_vector
    if vector is None or record.feeds is None:
        return None
    names = list(vector.outputs)
    answers = runner(to_proto(model), names, exact=True)(record.feeds)
    return replace(vector, outputs={name: Samples.of(answers[name]) for name in names})


def _content(model: ir.Model, spec: ModelSpec) -> bytes:
    proto = to_proto(model)
    embed_spec(proto, spec)
    content: bytes = proto.SerializeToString()
    return content


def _errors_of_backends(content: bytes, vector: TestVector, feeds: Feeds) -> list[float]:
    """How far the usable backends' answers are from the test vector."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "quantized.onnx"
        file.write_bytes(content)
        return [
            max(samples.relative_error(answers[name]) for name, samples in vector.outputs.items())
            for answers in (_answers(file, name, feeds) for name in backend_names())
            if answers is not None
        ]


def _answers(file: Path, backend: str, feeds: Feeds) -> Mapping[str, NDArray[Any]] | None:
    try:
        with Predictor(file, backend=backend) as predictor:
            return {key: np.array(value) for key, value in predictor.session.run(feeds).items()}
    except BackendError:  # not installed here: nothing to measure
        return None
