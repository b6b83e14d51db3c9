"""Adds up how far one side is from the reference."""

from collections.abc import Callable, Mapping
from pathlib import Path

from edgevit.core.model.spec import ModelSpec
from edgevit.core.model.task import TASKS, parse_head
from edgevit.core.tasks.reader import result_type
from edgevit.parity.decisions import DECISIONS
from edgevit.parity.limits import Limits, coarser
from edgevit.parity.report import PairReport
from edgevit.parity.sides import Answer, Side
from edgevit.parity.tensors import FloatTally, IdTally, TensorParity, comparable, tally_for

Progress = Callable[[str, int, int], object]


class Pair:
    """The reference and one other side, and how far apart their answers have been so far."""

    def __init__(
        self, reference: Side, side: Side, spec: ModelSpec, limits: Mapping[str, Limits]
    ) -> None:
        """Prepare to add images.

        Args:
            reference: the side that is taken to be right.
            side: the side that is compared with it.
            spec: the reference's; what matters here is the same in both.
            limits: the limits that apply to each precision; the coarser one of the two counts.
        """
        self.reference = reference
        self.side = side
        self.precision = coarser(
            (reference.precision, side.precision), is_one_file=reference.path == side.path
        )
        self.limits = limits[self.precision]
        self._noun = TASKS[spec.task].noun
        self._head = parse_head(spec.task, spec.head)
        self._decisions = DECISIONS[result_type(spec.task)](spec.class_names, self.limits)
        self._tensors: dict[str, FloatTally | IdTally] = {}
        self._failures: dict[str, str] = {}
        self._images = 0
        self._worst = Path()
        self._rank = (False, -1.0)

    def add(self, image: Path, reference: Answer, other: Answer) -> None:
        """Count one image in; the arrays are not kept.

        Args:
            image: its path, for the report.
            reference: the reference's answer.
            other: the other side's.
        """
        self._images += 1
        error = 0.0
        for name, (own, others) in comparable(reference.outputs, other.outputs, self._head).items():
            tally = self._tensors.setdefault(name, tally_for(name, own))
            error = max(error, tally.add(own, others))
        problem = reference.problem or other.problem
        if problem is not None:
            self._failures[str(image)] = problem
        agrees = problem is None and self._decisions.add(reference.result, other.result)
        rank = (not agrees, error)
        if rank > self._rank:
            self._rank, self._worst = rank, image

    def report(self) -> PairReport:
        """Sum up the images added so far, without a divergence."""
        tensors = [tally.parity() for tally in self._tensors.values()]
        answered = self._images - len(self._failures)
        agreement = self._decisions.agreement * answered / max(self._images, 1)
        return PairReport(
            side=self.side,
            precision=self.precision,
            limits=self.limits,
            agreement=agreement,
            decisions=self._decisions.figures(),
            per_class=self._decisions.per_class(),
            tensors=tensors,
            failures=self._failures,
            worst_picture=str(self._worst),
            problems=[*self._problems(tensors, agreement)],
            divergence=None,
            notes=[],
        )

    def _problems(self, tensors: list[TensorParity], agreement: float) -> list[str]:
        limits = self.limits
        problems = [
            f"{tensor.output!r}: {_error_of(tensor)}, more than {limits.tolerance:g}"
            for tensor in tensors
            if tensor.exceeds(limits.tolerance)
        ]
        if agreement < limits.min_agreement:
            problems.append(
                f"{agreement:.2%} of {self._noun} agree, fewer than {limits.min_agreement:.2%}"
            )
        for image, problem in list(self._failures.items())[:1]:
            count = len(self._failures)
            problems.append(f"{count} images have no answer, first {image!r}: {problem}")
        return problems


def _error_of(tensor: TensorParity) -> str:
    if tensor.not_finite:
        return f"{tensor.not_finite} values are NaN or infinite on one side only"
    return f"error of {tensor.relative_error:.2g} standard deviations"
