"""A comparison as tables of texts, which the command line and the card both show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgevit.benchmark.report import BenchmarkReport, Comparison, Percentiles
from edgevit.core.machine.state import MachineState

UNKNOWN = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """Headings and rows of texts; `left` columns are words, the others numbers."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int


def latency_table(comparison: Comparison) -> Table:
    """Tell how long each candidate takes for a whole prediction, and how many it makes."""
    return _numbered(comparison, comparison.labels(), [_latency(r) for r in comparison.reports])


def cost_table(comparison: Comparison) -> Table:
    """Tell what else a candidate costs and is worth."""
    return _numbered(comparison, None, [_cost(report) for report in comparison.reports])


def stage_table(comparison: Comparison) -> Table:
    """Tell where the time of each candidate goes: p50/p95/p99 of every stage, in ms."""
    stages = [name for name in comparison.reports[0].stages_ms if name != "total"]
    rows = [
        {stage: _spread(report.stages_ms[stage]) for stage in stages}
        for report in comparison.reports
    ]
    return _numbered(comparison, None, rows)


def fingerprint_table(comparison: Comparison) -> Table:
    """Lay out the machine and its libraries, one row for each fact."""
    found = comparison.fingerprint
    memory = UNKNOWN if found.memory_gib is None else f"{found.memory_gib} GiB"
    packages = ", ".join(f"{name} {version}" for name, version in found.packages.items())
    rows = [
        ("processor", f"{found.cpu} ({' '.join(found.cpu_features) or 'unknown features'})"),
        ("cores", f"{found.cores} usable, {found.processors} logical processors"),
        ("memory", memory),
        ("accelerators", ", ".join(found.accelerators) or UNKNOWN),
        ("system", f"{found.system}, {found.kernel}, {found.architecture}"),
        ("python", found.python),
        ("packages", packages),
    ]
    return Table(("machine", ""), tuple(rows), left=2)


def conditions_table(comparison: Comparison) -> Table:
    """Tell the machine's state before and after the run."""
    conditions = comparison.conditions
    before, after = _state(conditions.before), _state(conditions.after)
    rows = [(name, before[name], after[name]) for name in before]
    if conditions.busy_clocks_mhz is not None:
        early, late = (f"{clock:.0f} MHz" for clock in conditions.busy_clocks_mhz)
        rows.append(("clock in the run, early and late", early, late))
    if conditions.peak_temperature_c is not None:
        rows.append(("hottest in the run", "", f"{conditions.peak_temperature_c:.0f} °C"))
    return Table(("", "before", "after"), tuple(rows), left=3)


def _numbered(
    comparison: Comparison, labels: Sequence[str] | None, figures: Sequence[Mapping[str, str]]
) -> Table:
    """Number the candidates; a column that no candidate has something for is left out."""
    shown = [name for name in figures[0] if any(row[name] != UNKNOWN for row in figures)]
    names = [()] * len(figures) if labels is None else [(label,) for label in labels]
    rows = [
        (str(number), *name, *(row[column] for column in shown))
        for number, (name, row) in enumerate(zip(names, figures, strict=True), 1)
    ]
    headings = ("#", *(() if labels is None else ("candidate",)), *shown)
    return Table(headings, tuple(rows), left=len(headings) - len(shown))


def _latency(report: BenchmarkReport) -> dict[str, str]:
    total = report.stages_ms["total"]
    return {
        "p50 ms": milliseconds(total.p50),
        "p95 ms": milliseconds(total.p95),
        "p99 ms": milliseconds(total.p99),
        "overhead": milliseconds(report.overhead_ms),
        "images/s": _number(report.images_per_s),
        "map": _number(report.mapped_images_per_s),
    }


def _cost(report: BenchmarkReport) -> dict[str, str]:
    known, share = report.accuracy, report.arithmetic.share
    return {
        "first answer ms": _number(report.first_answer_ms),
        "memory MiB": _number(report.rss_mib),
        "peak MiB": _number(report.rss_peak_mib),
        "matrix rate": UNKNOWN if share is None else f"{share:.0%}",
        "accuracy": f"{known.value:.2%} {known.metric}" if known else UNKNOWN,
    }


def milliseconds(value: float) -> str:
    """Write a time in ms with three digits.

    Example:
        >>> milliseconds(1.234), milliseconds(12.34), milliseconds(1234)
        ('1.23', '12.3', '1234')
    """
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def _spread(spread: Percentiles) -> str:
    return "/".join(map(milliseconds, (spread.p50, spread.p95, spread.p99)))


def _state(state: MachineState) -> dict[str, str]:
    clocks = ", ".join(map(str, state.clocks_mhz or ()))
    temperatures = (state.temperatures_c or {}).items()
    return {
        "clock": f"{clocks} MHz" if clocks else UNKNOWN,
        "clock's limit": _clock_limit(state),
        "governor": state.governor or UNKNOWN,
        "temperature": ", ".join(f"{name} {value:.0f} °C" for name, value in temperatures)
        or UNKNOWN,
        "throttling": _throttling(state),
        "load": UNKNOWN if state.load is None else f"{state.load:.2f}",
    }


def _clock_limit(state: MachineState) -> str:
    if state.clock_limit_mhz is None:
        return UNKNOWN
    return f"{state.clock_limit_mhz} of {state.clock_max_mhz or '?'} MHz"


def _throttling(state: MachineState) -> str:
    if state.throttle_events is None and state.is_cooled is None and state.firmware is None:
        return UNKNOWN
    told = [*(state.firmware or ()), *(["cooled now"] if state.is_cooled else [])]
    if state.throttle_events:
        told.append(f"{state.throttle_events} events since boot")
    return ", ".join(told) or "none"


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0f}"
