"""A comparison as a Markdown card, to be kept beside a model or sent to a colleague."""

from edgevit.benchmark import table
from edgevit.benchmark.report import Comparison, threads_text
from edgevit.markdown import markdown_table


def card(comparison: Comparison, plot: str | None = None) -> str:
    """Write a comparison as Markdown.

    Args:
        comparison: what `compare` answered.
        plot: address of its plot, relative to the card; None to leave it out.
    """
    height, width = comparison.reports[0].image_size
    parts = [
        f"# Benchmark on {comparison.fingerprint.cpu}",
        f"Images of {height}x{width}, {_runs(comparison)} of each candidate, all in turn in one "
        "process. Times are in ms.",
        *(["The run was interrupted; not everything was measured."] * comparison.is_interrupted),
        "\n".join(f"> **Warning:** {said}." for said in comparison.conditions.warnings),
        _markdown(table.latency_table(comparison)),
        _markdown(table.cost_table(comparison)),
        "" if plot is None else f"![latency and accuracy]({plot})",
        "Where the time goes, p50/p95/p99:",
        _markdown(table.stage_table(comparison)),
        "## Candidates",
        _files(comparison),
        "## Machine",
        _markdown(table.fingerprint_table(comparison)),
        _markdown(table.conditions_table(comparison)),
        "## What the figures are",
        NOTES,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


NOTES = """\
- p50, p95, p99: of a whole prediction, from an image in memory to its result.
- runtime: the session's bare run, in turn with whole predictions; overhead: the median difference.
- images/s: one by one; map: images/s with the next images prepared meanwhile.
- first answer: from the start of a new process; memory and peak: of such a process with nothing but
  this model, Python and the runtime included.
- matrix rate: the model's operations per second over those of a large float32 matrix product in
  the same runtime."""


def _runs(comparison: Comparison) -> str:
    counts = sorted({report.runs for report in comparison.reports})
    return f"{' to '.join(map(str, (counts[0], counts[-1])[: len(counts)]))} runs"


def _files(comparison: Comparison) -> str:
    rows = [
        f"{number}. `{report.model}` ({report.task}): {report.file_mib:.1f} MiB, "
        f"{report.precision}, {report.backend} {report.device}, "
        f"{threads_text(report.threads)}, {report.preprocess} preprocessing"
        + (f"; {report.accuracy.metric} {report.accuracy.source}" if report.accuracy else "")
        for number, report in enumerate(comparison.reports, 1)
    ]
    return "\n".join(rows)


def _markdown(texts: table.Table) -> str:
    return markdown_table(texts.headings, texts.rows, left=texts.left)
