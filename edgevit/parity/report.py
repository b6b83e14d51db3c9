"""What a comparison answers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgevit.core.machine.fingerprint import Fingerprint
from edgevit.parity.decisions import ClassFigures, Figures
from edgevit.parity.limits import Limits
from edgevit.parity.sides import Side
from edgevit.parity.tensors import TensorParity


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first node whose inputs agree and whose output does not.

    Args:
        node: its name in the file; empty where the file gives it none.
        operator: such as `Conv`.
        output: name of the tensor that it makes.
        error: of the output, in standard deviations of the reference's; of ids and truth values,
            the share that differs. Infinite errors (shapes, NaN) are None.
        inputs: error of each tensor that it is computed from; of those that both files have, the
            nearest.
        measured: how many tensors inside the graph were looked at.
    """

    node: str
    operator: str
    output: str
    error: float | None
    inputs: Mapping[str, float]
    measured: int

    def __str__(self) -> str:
        name = f" {self.node!r}" if self.node else ""
        error = "infinite" if self.error is None else f"{self.error:.2g}"
        inputs = ", ".join(f"{key!r} {value:.2g}" for key, value in self.inputs.items())
        return (
            f"{self.operator}{name}, which makes {self.output!r}: error {error} standard "
            f"deviations; of what it reads: {inputs or 'nothing but the input'}"
        )


@dataclass(frozen=True, slots=True)
class PairReport:
    """How far one side is from the reference.

    Args:
        side: the one that is compared with the reference.
        precision: the coarser of the two sides' precisions, whose limits apply by default.
        limits: what counts as parity.
        agreement: share, 0-1, of the same decisions: best classes, detections or pixels.
        decisions: counts, shares and overlaps, by the model's task.
        per_class: of segmenters, figures of each class.
        tensors: each output's errors.
        failures: problem of each image that a side answered with nonsense, by its path.
        worst_picture: path of the image with the largest error; where there are
            some, of those that were decided otherwise.
        problems: what is not parity, a sentence each; empty where all is.
        divergence: where it begins, on the worst image; None where it was not looked for, or
            not found.
        notes: why it was not found.
    """

    side: Side
    precision: str
    limits: Limits
    agreement: float
    decisions: Figures
    per_class: Sequence[ClassFigures]
    tensors: Sequence[TensorParity]
    failures: Mapping[str, str]
    worst_picture: str
    problems: Sequence[str]
    divergence: Divergence | None
    notes: Sequence[str]

    @property
    def is_parity(self) -> bool:
        """Whether there are no problems: everything was answered, and is within `limits`."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What `compare` found.

    Args:
        task: `classify`, `detect` or `segment`.
        data: the folder of images.
        pictures: how many were answered by every side.
        preprocess: `exact` or `fast`; one batch of each image went to all sides.
        reference: the side that the others are compared with.
        pairs: one for each other side.
        fingerprint: what it was measured on.
    """

    task: str
    data: str
    pictures: int
    preprocess: str
    reference: Side
    pairs: Sequence[PairReport]
    fingerprint: Fingerprint

    @property
    def is_parity(self) -> bool:
        """Whether every side is within its limits."""
        return all(pair.is_parity for pair in self.pairs)

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as plain values that `json.dumps` takes, with each `is_parity`."""
        document = asdict(self) | {"is_parity": self.is_parity}
        for pair, record in zip(self.pairs, document["pairs"], strict=True):
            record["is_parity"] = pair.is_parity
        return document
