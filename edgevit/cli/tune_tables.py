"""What `edgevit tune` prints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgevit.tune import TuneReport
from edgevit.tune.explain import Explanation

SHOWN = 12  # rows; --json has them all

# Objective -> its column, where that is not the latency's.
OWN_COLUMN: Mapping[str, tuple[str, str]] = {
    "throughput": ("images/s", "images_per_s"),
    "energy-proxy": ("cpu ms", "cpu_ms"),
}


def print_report(report: TuneReport) -> None:
    """Print the choice, the table it was chosen from, and what was left out."""
    _print_evidence(report.to_dict())
    console = _console()
    for path in report.profiles:
        console.print(f"kept in {path}", markup=False)


def print_explanation(found: Explanation) -> None:
    """Print what a device profile says, whether it counts, and its evidence."""
    console = _console()
    profile = found.profile
    counts = "obeyed here" if found.problem is None else f"ignored here: {found.problem}"
    console.print(f"{profile.model.path}: {profile.says}", markup=False)
    console.print(f"  profile {found.path}, {profile.made}, {counts}", markup=False)
    if profile.recommends is not None:
        console.print(f"  a better model was {profile.recommends}", markup=False)
    _print_evidence(found.evidence)


def _console() -> Console:
    return Console(soft_wrap=True, highlight=False)


def _print_evidence(report: Mapping[str, Any]) -> None:
    """Of a TuneReport as JSON values, which is how profiles keep it."""
    console = _console()
    rows = report["candidates"]
    problems = list(dict.fromkeys(row["problem"] for row in rows[:SHOWN] if row["problem"]))
    console.print(_table(report, problems))
    for number, problem in enumerate(problems, start=1):
        console.print(f"({number}) {problem}", markup=False)
    if len(rows) > SHOWN:
        console.print(f"{len(rows) - SHOWN} more were measured; --json shows them")
    console.print(
        f"reference: {report['figure']} {report['reference_accuracy']:.2%} on {report['data']}",
        markup=False,
    )
    if not report["is_complete"]:
        console.print("the time ended before the search did; more of it may find better")
    for failure in report["failed"]:
        where = f"{failure['precision']} on {failure['backend']} {failure['device']}"
        console.print(f"not measured: {where}: {failure['problem']}", markup=False)
    for note in report["notes"]:
        console.print(note, markup=False)
    if report["choice"] is not None:
        console.print(f"chosen {_named(report['choice'])}: {report['reason']}", markup=False)
    console.print(f"{len(rows)} candidates in {report['spent_s']:.0f} s")


def _named(row: Mapping[str, Any]) -> str:
    device = "" if row["device"] == "cpu" else f" {row['device']}"
    return (
        f"{Path(row['model']).stem} {row['precision']} on {row['backend']}{device}, "
        f"{_threads(row)}, {row['preprocess']}"
    )


def _threads(row: Mapping[str, Any]) -> str:
    spinning = "" if row["spinning"] == "default" else f" {row['spinning']}"
    streams = f" x{row['streams']}" if row["streams"] > 1 else ""
    return f"{row['threads'] or '-'}{streams}{spinning}"


def _table(report: Mapping[str, Any], problems: list[str]) -> Table:
    """The model is named where there are several; the table fits 80 columns where there is one.

    Why a row is out stands below the table, under a number.
    """
    rows = report["candidates"]
    has_models = len({row["model"] for row in rows}) > 1
    own = OWN_COLUMN.get(report["goal"]["objective"])
    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading in (*(["model"] if has_models else []), "precision", "backend", "threads", "mode"):
        table.add_column(heading, no_wrap=True)
    for heading in ("p50 ms", "p95 ms", *(own[:1] if own else ()), "MiB", report["figure"], "runs"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows[:SHOWN]:
        cells = [*([Path(row["model"]).stem] if has_models else []), *_how(row)]
        cells += [f"{row['p50_ms']:.2f}", f"{row['p95_ms']:.2f}"]
        cells += [f"{row[own[1]]:.2f}"] if own else []
        cells += ["" if row["rss_mib"] is None else f"{row['rss_mib']:.0f}"]
        cells += ["" if row["accuracy"] is None else f"{row['accuracy']:.2%}", str(row["runs"])]
        table.add_row(*map(escape, [*cells, _remark(row, report["choice"], problems)]))
    return table


def _how(row: Mapping[str, Any]) -> list[str]:
    device = "" if row["device"] == "cpu" else f" {row['device']}"
    return [row["precision"], f"{row['backend']}{device}", _threads(row), row["preprocess"]]


def _remark(row: Mapping[str, Any], choice: Mapping[str, Any] | None, problems: list[str]) -> str:
    if row == choice:
        return "chosen"
    if row["problem"]:
        return f"({1 + problems.index(row['problem'])})"
    return "Pareto" if row["is_pareto"] else ""
