"""A comparison as a Markdown card."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from edgevit.markdown import markdown_table
from edgevit.parity.decisions import ClassFigures
from edgevit.parity.report import PairReport, ParityReport
from edgevit.parity.tensors import TensorParity

TENSOR_COLUMNS = ("output", "largest error", "mean error", "rms in std", "cosine", "ids changed")


def markdown_card(report: ParityReport) -> str:
    """Write a report as Markdown: verdict, tables, and what it was measured on."""
    reference = report.reference
    lines = [
        f"# Parity of {reference.model}: {'yes' if report.is_parity else 'no'}",
        "",
        f"{report.pictures} images of `{Path(report.data).name}`, {report.preprocess} "
        f"preprocessing once for all sides. Reference: {reference}, {reference.precision}.",
    ]
    for pair in report.pairs:
        lines += ["", *_pair_lines(pair)]
    lines += ["", "## Measured on", "", *_bullets(report.fingerprint.to_dict().items())]
    return "\n".join(lines) + "\n"


def tensor_row(tensor: TensorParity) -> list[str]:
    """An output's errors as texts, in the order of TENSOR_COLUMNS."""
    numbers = (tensor.max_error, tensor.mean_error, tensor.relative_error)
    return [
        tensor.output,
        *("-" if number is None else f"{number:.2g}" for number in numbers),
        "-" if tensor.cosine is None else f"{tensor.cosine:.6f}",
        "-" if tensor.changed is None else f"{tensor.changed:.3%}",
    ]


def figure_text(name: str, value: float | int | None) -> str:
    """A decision's figure: counts, scores and overlaps as numbers, shares in percent."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if "score" in name or "iou" in name else f"{value:.3%}"


def iou_text(iou: object) -> str:
    """A class's overlap; a dash for a class that does not occur."""
    return f"{iou:.4f}" if isinstance(iou, float) else "-"


def _pair_lines(pair: PairReport) -> Iterator[str]:
    limits = pair.limits
    yield f"## {pair.side}, {pair.side.precision}: {'parity' if pair.is_parity else 'no parity'}"
    yield ""
    yield (
        f"Limits for {pair.precision}: error {limits.tolerance:g} standard deviations, agreement "
        f"{limits.min_agreement:.2%}, IoU {limits.min_iou:g}. Agreement: {pair.agreement:.3%}."
    )
    yield ""
    yield markdown_table(TENSOR_COLUMNS, map(tensor_row, pair.tensors))
    yield ""
    names = [*pair.decisions]
    yield markdown_table(names, [[figure_text(name, pair.decisions[name]) for name in names]])
    if pair.per_class:
        yield ""
        yield markdown_table(("class", "pixels", "IoU"), map(_class_row, pair.per_class))
    facts = [*pair.problems, *pair.notes]
    if pair.divergence is not None:
        facts.append(f"the first node that diverges: {pair.divergence}")
    if facts:
        yield from ("", *(f"- {fact}" for fact in facts))


def _class_row(row: ClassFigures) -> list[str]:
    return [str(row["class_name"]), str(row["pixels"]), iou_text(row["iou"])]


def _bullets(items: Iterable[tuple[str, object]]) -> Iterator[str]:
    for name, value in items:
        if isinstance(value, dict):
            value = ", ".join(f"{key} {version}" for key, version in value.items())
        if isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        yield f"- {name}: {'-' if value in (None, '') else value}"
