"""What `edgevit bench` prints."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgevit.benchmark import Arithmetic, BenchmarkReport, Comparison
from edgevit.benchmark.report import threads_text
from edgevit.benchmark.table import Table as Texts
from edgevit.benchmark.table import conditions_table, cost_table, latency_table, stage_table


def print_comparison(comparison: Comparison) -> None:
    """Print one candidate in sentences, several as tables, then the machine."""
    console = Console(soft_wrap=True, highlight=False)
    if len(comparison.reports) == 1:
        _print_one(console, comparison.reports[0])
    else:
        _print_many(console, comparison)
    known = [row for row in conditions_table(comparison).rows if set(row[1:]) != {"-"}]
    for name, before, after in known:
        console.print(f"{name}: {before or '-'} before, {after} after", markup=False)
    for warning in comparison.conditions.warnings:
        console.print(f"[bold yellow]warning:[/] {escape(warning)}")


def _print_many(console: Console, comparison: Comparison) -> None:
    height, width = comparison.reports[0].image_size
    runs = min(report.runs for report in comparison.reports)
    console.print(f"{len(comparison.reports)} candidates in turn, {height}x{width}, {runs} runs")
    console.print(_table(latency_table(comparison)))
    console.print("where the time goes: p50/p95/p99, ms")
    console.print(_table(stage_table(comparison)))
    console.print(_table(cost_table(comparison)))
    fastest = comparison.fastest()
    label = comparison.labels()[comparison.reports.index(fastest)]
    console.print(f"fastest: {label}; {_accuracy(fastest)}", markup=False)


def _table(texts: Texts) -> Table:
    table = Table()
    for index, heading in enumerate(texts.headings):
        is_word = index < texts.left
        table.add_column(heading, justify="left" if is_word else "right", no_wrap=not is_word)
    for row in texts.rows:
        table.add_row(*map(escape, row))
    return table


def _print_one(console: Console, report: BenchmarkReport) -> None:
    height, width = report.image_size
    console.print(
        f"{report.model} ({report.precision}) on {report.backend} {report.device}, "
        f"{threads_text(report.threads)}, {report.preprocess} preprocessing of {height}x{width}, "
        f"{report.runs} runs",
        markup=False,
    )
    console.print(_stages(report))
    share = report.overhead_ms / report.stages_ms["runtime"].p50
    console.print(
        f"overhead over the runtime's bare run: {report.overhead_ms:.2f} ms ({share:.0%})"
    )
    console.print(_arithmetic_line(report.arithmetic))
    mapped = report.mapped_images_per_s
    console.print(
        f"throughput: {report.images_per_s:.0f} images/s one by one"
        + ("" if mapped is None else f", {mapped:.0f} with map()")
    )
    if report.first_answer_ms is not None:
        console.print(f"first answer of a new process: {report.first_answer_ms:.0f} ms")
    if report.rss_mib is not None:
        console.print(
            f"memory of a new process: {report.rss_mib:.0f} MiB, at most "
            f"{report.rss_peak_mib:.0f}, grown {report.rss_growth_mib:+.1f} MiB"
        )
    console.print(_accuracy(report), markup=False)


def _accuracy(report: BenchmarkReport) -> str:
    accuracy = report.accuracy
    if accuracy is None:
        return "accuracy: not measured (--data DIR measures it)"
    return f"{accuracy.metric}: {accuracy.value:.2%}, {accuracy.source}"


def _stages(report: BenchmarkReport) -> Table:
    table = Table()
    table.add_column("ms")
    for name in ("p50", "p95", "p99"):
        table.add_column(name, justify="right")
    for stage, spread in report.stages_ms.items():
        row = (spread.p50, spread.p95, spread.p99)
        table.add_row(stage, *(f"{value:.2f}" for value in row))
    return table


def _arithmetic_line(arithmetic: Arithmetic) -> str:
    """Multiplies and adds count one operation each, as in the rates that processors state."""
    if arithmetic.gflop is None:
        return (
            "arithmetic: the file records no count of operations; export it again to see its rate"
        )
    line = f"arithmetic: {arithmetic.gflop:.2f} GFLOP, {arithmetic.gflop_per_s:.0f} GFLOP/s"
    if arithmetic.share is None:
        return f"{line}; this backend runs no plain matrix product to compare with"
    return (
        f"{line}, {arithmetic.share:.0%} of a large matrix product's "
        f"{arithmetic.matrix_gflop_per_s:.0f} (a multiply-add is 2 FLOP)"
    )
