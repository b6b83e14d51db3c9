"""A plot of latency and accuracy: what a candidate costs, what it is worth, and which are best."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgevit.benchmark.drawing import CIRCLE, CORNERS, Drawing, Line, Mark, Point, Text
from edgevit.benchmark.report import Accuracy, BenchmarkReport, Comparison
from edgevit.core.cache.files import write_atomically
from edgevit.errors import InputError

SUFFIXES = (".png", ".svg")

COLORS = ("#1f6fb4", "#d1621b", "#2c8c4a", "#8a4fb0", "#a33b3b", "#4d4d4d")  # backends
SHAPES = (CIRCLE, *CORNERS)  # precisions
GREY, LIGHT, PALE, DARK = "#8a8a8a", "#b8b8b8", "#e4e4e4", "#222222"

LEFT, TOP, PLOT_WIDTH, PLOT_HEIGHT = 62, 58, 500, 330
LEGEND_X, LINE = 590, 19
RADIUS = 5.0
WIDE_RANGE = 8  # from here on the latency axis is logarithmic

# Where a number may stand beside its mark, the best place first.
PLACES = [
    (reach * dx, reach * dy)
    for reach in (13, 22, 32, 44)
    for dx, dy in ((0, -1), (-0.75, -0.75), (0.75, -0.75), (0.75, 0.75), (0, 1), (-1, 0))
]


@dataclass(frozen=True, slots=True)
class Axis:
    """Values on a line of pixels, from `low` at `start` to `high` at `end`."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def at(self, value: float) -> float:
        """Pixel of a value."""
        low, high, value = (
            map(math.log, (self.low, self.high, value))
            if self.is_log
            else (self.low, self.high, value)
        )
        return self.start + (self.end - self.start) * (value - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round values along it."""
        if self.is_log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            values = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
        else:
            step = _round_step((self.high - self.low) / 6)
            first = math.ceil(self.low / step - 1e-9)
            values = [step * n for n in range(first, first + 12)]
        return [value for value in values if self.low <= value <= self.high + 1e-12]


def write_plot(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Draw every candidate's median latency and accuracy, the better ones joined by a line.

    A whisker goes to the latency's 95th percentile.

    Args:
        comparison: with an accuracy of each candidate, all in one metric.
        path: a `.png` or `.svg` file.

    Raises:
        InputError: if an accuracy is missing or they are of several metrics, or the file's name
            ends otherwise.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"a plot is a file {' or '.join(SUFFIXES)}, not {path.name!r}")
    drawing = draw_plot(comparison)
    content = drawing.png() if path.suffix == ".png" else drawing.svg().encode()
    write_atomically(path, content)


def draw_plot(comparison: Comparison) -> Drawing:
    """Draw what `write_plot` writes."""
    reports, accuracies = comparison.reports, _accuracies(comparison.reports)
    height = max(TOP + PLOT_HEIGHT + 62, TOP + LINE * (len(reports) + 6))
    drawing = Drawing(930, height)
    latency = _latency_axis(
        [report.stages_ms["total"].p50 for report in reports],
        [report.stages_ms["total"].p95 for report in reports],
    )
    worth = _accuracy_axis([accuracy.value for accuracy in accuracies])
    points = [
        (latency.at(report.stages_ms["total"].p50), worth.at(accuracy.value))
        for report, accuracy in zip(reports, accuracies, strict=True)
    ]
    drawing.items += _frame(latency, worth, accuracies, comparison)
    drawing.items += _best(points)
    drawing.items += _whiskers(reports, points, latency)
    drawing.items += _marks(reports, points)
    drawing.items += _numbers(points)
    drawing.items += _legend(comparison)
    return drawing


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


def _latency_axis(medians: Sequence[float], ends: Sequence[float]) -> Axis:
    low, high = min(medians), max(medians) * 1.08
    high = max(high, min(max(ends), high * 1.25))  # a far outlier's whisker ends at the frame
    is_log = high > WIDE_RANGE * low
    return Axis(low / 1.25 if is_log else 0.0, high, LEFT, LEFT + PLOT_WIDTH, is_log)


def _accuracy_axis(values: Sequence[float]) -> Axis:
    margin = max(0.15 * (max(values) - min(values)), 0.005)
    return Axis(min(values) - margin, max(values) + margin, TOP + PLOT_HEIGHT, TOP)


def _frame(
    latency: Axis, worth: Axis, accuracies: Sequence[Accuracy], comparison: Comparison
) -> Iterable[Line | Text]:
    bottom, right = TOP + PLOT_HEIGHT, LEFT + PLOT_WIDTH
    for value in latency.ticks():
        x = latency.at(value)
        yield Line(((x, TOP), (x, bottom)), PALE, 1)
        yield Text((x, bottom + 17), f"{value:g}", 11, DARK, "middle")
    for value in worth.ticks():
        y = worth.at(value)
        yield Line(((LEFT, y), (right, y)), PALE, 1)
        yield Text((LEFT - 6, y + 4), f"{100 * value:.4g}", 11, DARK, "end")
    yield Line(((LEFT, TOP), (LEFT, bottom), (right, bottom)), GREY, 1)
    sources = ", ".join(dict.fromkeys(accuracy.source for accuracy in accuracies))
    yield Text((LEFT - 40, 24), f"Latency and accuracy: {comparison.fingerprint.cpu}", 15)
    yield Text((LEFT - 40, 44), f"{accuracies[0].metric} in percent, {sources}", 11)
    height, width = comparison.reports[0].image_size
    yield Text(
        (LEFT + PLOT_WIDTH / 2, bottom + 38),
        f"ms for one whole prediction of a {height}x{width} picture: median, line to p95",
        11,
        DARK,
        "middle",
    )


def _best(points: Sequence[Point]) -> Iterable[Line]:
    """Steps along the points that no other beats in both latency and accuracy."""
    front: list[Point] = []
    for x, y in sorted(points):
        if not front or y < front[-1][1]:  # higher up is better
            front += [(x, front[-1][1]), (x, y)] if front else [(x, y)]
    if len(front) > 1:
        yield Line(tuple(front), LIGHT, 1.5)


def _whiskers(
    reports: Sequence[BenchmarkReport], points: Sequence[Point], latency: Axis
) -> Iterable[Line]:
    colors = _by_value([report.backend for report in reports], COLORS)
    for report, (x, y) in zip(reports, points, strict=True):
        end = min(latency.at(report.stages_ms["total"].p95), latency.end)
        yield Line(((x, y), (end, y)), colors[report.backend], 1)


def _marks(reports: Sequence[BenchmarkReport], points: Sequence[Point]) -> Iterable[Mark]:
    colors = _by_value([report.backend for report in reports], COLORS)
    shapes = _by_value([report.precision for report in reports], SHAPES)
    for report, point in zip(reports, points, strict=True):
        yield Mark(point, shapes[report.precision], RADIUS, colors[report.backend])


def _numbers(points: Sequence[Point]) -> Iterable[Text]:
    """Each mark's number at the first place that no mark and no other number takes."""
    taken = list(points)
    for number, (x, y) in enumerate(points, 1):
        places = [(x + dx, y + dy) for dx, dy in PLACES]
        free = (place for place in places if all(_is_apart(place, other) for other in taken))
        place = next(free, places[0])
        taken.append(place)
        yield Text((place[0], place[1] + 4), str(number), 11, DARK, "middle")


def _is_apart(place: Point, other: Point) -> bool:
    return abs(place[0] - other[0]) > 13 or abs(place[1] - other[1]) > 11


def _legend(comparison: Comparison) -> Iterable[Mark | Text]:
    reports = comparison.reports
    rows = list(zip(reports, comparison.labels(), strict=True))
    for number, (report, label) in enumerate(rows, 1):
        y = TOP + LINE * (number - 1) + 10
        yield Text((LEGEND_X + 18, y), str(number), 11, DARK, "end")
        yield Text((LEGEND_X + 26, y), f"{report.stages_ms['total'].p50:.3g} ms", 11)
        yield Text((LEGEND_X + 84, y), label, 11)
    y = TOP + LINE * (len(reports) + 1)
    colors = _by_value([report.backend for report in reports], COLORS)
    shapes = _by_value([report.precision for report in reports], SHAPES)
    marks = [(CIRCLE, color, name) for name, color in colors.items()] + [
        (shape, GREY, name) for name, shape in shapes.items()
    ]
    x = float(LEGEND_X + 13)
    for shape, color, name in marks:
        text = Text((x + 10, y + 4), name, 11)
        if x + 10 + text.width() > 930:
            x, y = float(LEGEND_X + 13), y + LINE
            text = Text((x + 10, y + 4), name, 11)
        yield Mark((x, y), shape, RADIUS, color)
        yield text
        x += 26 + text.width()


def _by_value(values: Sequence[str], looks: Sequence[str]) -> dict[str, str]:
    """Give each distinct value its own look, in order; beyond their number they repeat."""
    return {value: looks[index % len(looks)] for index, value in enumerate(dict.fromkeys(values))}


def _round_step(width: float) -> float:
    power = 10.0 ** math.floor(math.log10(width))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= width)
