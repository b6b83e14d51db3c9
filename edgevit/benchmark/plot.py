"""A plot of latency and accuracy: what a candidate costs, what it is worth, and which are best.

matplotlib draws it, through its objects alone: no window, and no state that a caller would share.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevit.benchmark.report import Accuracy, BenchmarkReport, Comparison
from edgevit.core.cache.files import write_atomically
from edgevit.errors import InputError, require_package

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

SUFFIXES = (".png", ".svg")

COLORS = ("#1f6fb4", "#d1621b", "#2c8c4a", "#8a4fb0", "#a33b3b", "#4d4d4d")  # backends
SHAPES = ("o", "s", "^", "D")  # precisions
GRAY, LIGHT, PALE = "#707070", "#b8b8b8", "#e4e4e4"
WIDE_RANGE = 8  # from here on the latency axis is logarithmic
DPI = 150
SETTINGS: dict[Any, Any] = {  # each release of matplotlib has its own type of the keys
    "svg.hashsalt": "edgevit",  # the same comparison gives the same file
    "svg.fonttype": "none",  # texts stay texts
    "text.parse_math": False,  # a name may hold a dollar
}

CAP: dict[str, Any] = {"marker": "|", "markersize": 10, "markeredgewidth": 2}

# Where a candidate's number and whisker may lie, in points above its mark, the best place first.
LANE = 13
LANES = sorted((LANE * lane for lane in range(-40, 41)), key=lambda up: (abs(up), -up))

Figures = tuple[float, float, float]  # p50 and p95 in ms, accuracy


def require_matplotlib() -> None:
    """Check that plots can be drawn here.

    Raises:
        EdgeVitError: if matplotlib is not installed.
    """
    require_package("matplotlib.figure", "plot", "a plot is drawn with matplotlib")


def write_plot(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Draw every candidate's latency (p50 and p95) and accuracy, the best ones joined by a line.

    Args:
        comparison: with an accuracy of each candidate, all in one metric.
        path: a `.png` or `.svg` file.

    Raises:
        InputError: if an accuracy is missing or they are of several metrics, or the file's name
            ends otherwise.
        EdgeVitError: if matplotlib, the extra `plot`, is not installed.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"a plot is a file {' or '.join(SUFFIXES)}, not {path.name!r}")
    accuracies = _accuracies(comparison.reports)
    require_matplotlib()
    from matplotlib import rc_context

    content, kind = BytesIO(), path.suffix[1:]
    with rc_context(SETTINGS):
        figure = draw_plot(comparison, accuracies)
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(content, format=kind, metadata=metadata, bbox_inches="tight", pad_inches=0.2)
    write_atomically(path, content.getvalue())


def draw_plot(comparison: Comparison, accuracies: Sequence[Accuracy]) -> Figure:
    """Draw what `write_plot` writes."""
    from matplotlib.figure import Figure

    reports = comparison.reports
    figure = Figure(figsize=(7, max(4.6, 0.21 * (len(reports) + 6))), dpi=DPI)
    axes = figure.add_subplot()
    candidates = [
        (report.stages_ms["total"].p50, report.stages_ms["total"].p95, accuracy.value)
        for report, accuracy in zip(reports, accuracies, strict=True)
    ]
    _scale(axes, candidates)
    _describe(axes, comparison, accuracies)
    axes.plot(*zip(*_best(candidates), strict=True), color=LIGHT, drawstyle="steps-post", zorder=1)
    looks, lanes = _looks(reports), _lanes(axes, candidates)
    for number, (candidate, look, lane) in enumerate(zip(candidates, looks, lanes, strict=True), 1):
        _mark(axes, number, candidate, look, lane=lane)
    _add_legend(axes, comparison, looks)
    return figure


def _accuracies(reports: Sequence[BenchmarkReport]) -> list[Accuracy]:
    known = [report.accuracy for report in reports if report.accuracy is not None]
    if len(known) < len(reports):
        lacking = next(report.path for report in reports if report.accuracy is None)
        raise InputError(
            f"a plot needs the accuracy of every model, and that of {lacking!r} is not known; "
            "measure it on a data set (--data DIR)"
        )
    metrics = sorted({accuracy.metric for accuracy in known})
    if len(metrics) > 1:
        raise InputError(
            f"one plot takes one metric, not {', '.join(metrics)}; compare models of one task"
        )
    return known


def _looks(reports: Sequence[BenchmarkReport]) -> list[tuple[str, str]]:
    """Color of each report's backend, shape of its precision; beyond their number they repeat."""
    backends = list(dict.fromkeys(report.backend for report in reports))
    precisions = list(dict.fromkeys(report.precision for report in reports))
    return [
        (
            COLORS[backends.index(report.backend) % len(COLORS)],
            SHAPES[precisions.index(report.precision) % len(SHAPES)],
        )
        for report in reports
    ]


def _scale(axes: Axes, candidates: Sequence[Figures]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator, PercentFormatter

    medians, ends, values = zip(*candidates, strict=True)
    if max(ends) > WIDE_RANGE * min(medians):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(min(medians) / 1.25, max(ends) * 1.25)
    else:
        axes.set_xlim(0, max(ends) * 1.08)
    axes.xaxis.set_major_formatter("{x:g}")
    margin = max(0.15 * (max(values) - min(values)), 0.005)
    axes.set_ylim(min(values) - margin, max(values) + margin)
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _describe(axes: Axes, comparison: Comparison, accuracies: Sequence[Accuracy]) -> None:
    height, width = comparison.reports[0].image_size
    metric = accuracies[0].metric
    sources = ", ".join(dict.fromkeys(accuracy.source for accuracy in accuracies))
    title = f"Latency and accuracy on {comparison.fingerprint.cpu}\n{metric}: {sources}"
    axes.set_title(title, loc="left", pad=12, fontsize=11)
    axes.set_xlabel(f"ms for one whole prediction of a {height}x{width} image")
    axes.set_ylabel(metric)
    axes.grid(color=PALE)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _best(candidates: Sequence[Figures]) -> list[tuple[float, float]]:
    """Those that no other beats in both latency and accuracy, from left to right."""
    front: list[tuple[float, float]] = []
    for p50, _, value in sorted(candidates, key=lambda figures: (figures[0], -figures[2])):
        if not front or value > front[-1][1]:
            front.append((p50, value))
    return front


def _lanes(axes: Axes, candidates: Sequence[Figures]) -> list[float]:
    """Where each number and whisker lies, as an accuracy: clear of all marks and of one another.

    Those to the right choose first, so that stems of the others seldom cross their whiskers.
    """
    from matplotlib.transforms import Bbox

    to_pixels, point = axes.transData, DPI / 72
    starts = to_pixels.transform([(p50, value) for p50, _, value in candidates])
    ends = to_pixels.transform([(p95, value) for _, p95, value in candidates])
    marks = [Bbox([start - 5 * point, start + 5 * point]) for start in starts]
    flags: list[Bbox] = []
    lanes = [0.0] * len(candidates)
    for index in sorted(range(len(candidates)), key=lambda index: -starts[index][0]):
        place = Bbox(
            [starts[index] - (24 * point, 6 * point), ends[index] + (4 * point, 6 * point)]
        )
        others = [*marks[:index], *marks[index + 1 :], *flags]
        boxes = [place.translated(0, up * point) for up in LANES]
        inside = [box for box in boxes if axes.bbox.y0 < box.y0 and box.y1 < axes.bbox.y1]
        flags.append(next((box for box in inside if not box.count_overlaps(others)), place))
        middle = (flags[-1].y0 + flags[-1].y1) / 2
        lanes[index] = float(to_pixels.inverted().transform((0, middle))[1])
    return lanes


def _mark(
    axes: Axes, number: int, candidate: Figures, look: tuple[str, str], *, lane: float
) -> None:
    p50, p95, value = candidate
    color, shape = look
    axes.plot([p50, p50], [value, lane], color=color, linewidth=0.6)
    axes.plot([p50, p95], [lane, lane], color=color, linewidth=1.2)
    axes.plot(p95, lane, color=color, **CAP)
    axes.plot(p50, value, marker=shape, markersize=8, markeredgecolor="white", color=color)
    axes.annotate(
        str(number), (p50, lane), (-7, 0), textcoords="offset points", ha="right", va="center"
    )


def _add_legend(axes: Axes, comparison: Comparison, looks: Sequence[tuple[str, str]]) -> None:
    """List the candidates with their figures, and then what the marks mean."""
    rows = [(_sample(), f"{'':2} {'p50 ms':>8} {'p95 ms':>8}")]
    reports = zip(comparison.reports, comparison.labels(), looks, strict=True)
    for number, (report, label, (color, shape)) in enumerate(reports, 1):
        total = report.stages_ms["total"]
        text = f"{number:2} {total.p50:8.2f} {total.p95:8.2f}  {label}"
        rows.append((_sample(color=color, marker=shape), text))
    rows += [
        (_sample(), ""),
        (_sample(color=GRAY, marker="o"), "p50: the median, at its accuracy"),
        (_sample(color=GRAY, **CAP), "p95: 19 of 20 runs are faster"),
        (_sample(color=LIGHT, linestyle="-"), "best: none is both faster and more accurate"),
    ]
    handles, labels = zip(*rows, strict=True)
    axes.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(1.02, 1),
        frameon=False,
        prop={"family": "monospace", "size": 9},
    )


def _sample(**look: Any) -> Line2D:  # matplotlib's own arguments, of many types
    from matplotlib.lines import Line2D

    return Line2D([], [], **{"linestyle": "none", "markersize": 7, **look})
