import sys
from dataclasses import replace
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from edgevit.benchmark import Accuracy, BenchmarkReport, Comparison, Percentiles, card, write_plot
from edgevit.benchmark.plot import COLORS, draw_plot
from edgevit.benchmark.report import Arithmetic
from edgevit.core.machine.fingerprint import fingerprint
from edgevit.core.machine.state import Conditions, machine_state
from edgevit.errors import EdgeVitError, InputError

REPORT = BenchmarkReport(
    model="small|model",
    task="classify",
    path="small.onnx",
    file_mib=1.5,
    precision="fp32",
    backend="one",
    device="cpu",
    threads=1,
    preprocess="exact",
    image_size=(20, 30),
    runs=7,
    stages_ms={name: Percentiles(4, 5, 6) for name in ("preprocess", "total", "runtime")},
    overhead_ms=0.25,
    arithmetic=Arithmetic(1.0, 250.0, 500.0, 0.5),
    images_per_s=250,
    mapped_images_per_s=400,
    first_answer_ms=123,
    rss_mib=80,
    rss_peak_mib=90,
    rss_growth_mib=0.5,
    accuracy=Accuracy("top1", 0.75, "measured on 4 images of photos"),
)


def report(p50, value, **changes):
    total = {**REPORT.stages_ms, "total": Percentiles(p50, 1.1 * p50, 1.2 * p50)}
    known = replace(REPORT.accuracy, value=value)
    return replace(REPORT, stages_ms=total, accuracy=known, **changes)


def comparison(*reports, warnings=(), is_interrupted=False):
    state = machine_state()
    conditions = Conditions(state, state, (1500.0, 1200.0), 71.5, warnings)
    return Comparison(reports, fingerprint(), conditions, is_interrupted)


@pytest.fixture
def axes():
    """Draw a comparison and give its axes."""

    def draw(*reports):
        known = [report.accuracy for report in reports]
        return draw_plot(comparison(*reports), known).axes[0]

    return draw


def texts_of(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_every_candidate_has_its_mark_its_p95_and_a_row_with_both(axes):
    drawn = axes(report(4, 0.75), report(2.5, 0.7, backend="two"), report(3, 0.6, threads=2))
    lines = {line.get_marker(): line for line in drawn.lines if line.get_color() == COLORS[1]}
    assert lines["o"].get_xydata()[0].tolist() == [2.5, 0.7]
    assert lines["|"].get_xydata()[0].tolist() == pytest.approx([2.75, 0.7])
    rows = [text.split(maxsplit=3) for text in texts_of(drawn)[1:4]]
    assert rows == [
        ["1", "4.00", "4.40", "one, 1 thread"],
        ["2", "2.50", "2.75", "two, 1 thread"],
        ["3", "3.00", "3.30", "one, 2 threads"],
    ]


def test_the_legend_says_what_the_marks_are(axes):
    texts = " ".join(texts_of(axes(report(4, 0.75))))
    for named in ("p50 ms", "p95 ms", "p50: the median", "p95: 19 of 20", "best:"):
        assert named in texts


def test_the_axes_say_what_was_measured_on_what(axes):
    drawn = axes(report(4, 0.75))
    assert drawn.get_title(loc="left").endswith("top1: measured on 4 images of photos")
    assert "20x30" in drawn.get_xlabel()


def test_the_best_are_joined_and_the_beaten_are_not(axes):
    drawn = axes(report(2, 0.5), report(4, 0.9), report(5, 0.6), report(3, 0.5))
    assert drawn.lines[0].get_xydata().tolist() == [[2, 0.5], [4, 0.9]]


def test_precisions_have_shapes_of_their_own(axes):
    drawn = axes(report(2, 0.5), report(1, 0.4, precision="int8"))
    assert {"o", "s"} <= {line.get_marker() for line in drawn.lines}


@pytest.mark.parametrize(("p95", "scale"), [(15, "linear"), (20, "log")])
def test_a_wide_range_is_logarithmic_and_shows_every_p95(p95, scale, axes):
    drawn = axes(report(2, 0.5), report(p95 / 1.1, 0.6))
    assert drawn.get_xscale() == scale
    assert drawn.get_xlim()[1] > p95


@pytest.mark.parametrize("count", [1, 2, 12])
def test_numbers_and_whiskers_stand_apart_where_marks_lie_together(count, axes):
    drawn = axes(*(report(2 + 0.001 * n, 0.5) for n in range(count)))
    boxes = [text.get_window_extent() for text in drawn.texts]
    assert [text.get_text() for text in drawn.texts] == [str(n + 1) for n in range(count)]
    assert not any(box.count_overlaps(boxes[:index]) for index, box in enumerate(boxes))
    assert len({text.xy[1] for text in drawn.texts}) == count


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_comparison_gives_the_same_file(suffix, tmp_path):
    drawn = comparison(report(2, 0.5), report(1, 0.4))
    for name in ("a", "b"):
        write_plot(drawn, tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_files_hold_the_drawing(tmp_path):
    drawn = comparison(report(2, 0.5), report(1, 0.4, precision="int8", backend="two"))
    write_plot(drawn, tmp_path / "plot.png")
    write_plot(drawn, tmp_path / "plot.svg")
    pixels = cv2.imread(str(tmp_path / "plot.png"))
    for red, green, blue in ((0x1F, 0x6F, 0xB4), (0xD1, 0x62, 0x1B)):
        assert np.all(pixels == (blue, green, red), axis=-1).sum() > 100
    texts = ElementTree.parse(tmp_path / "plot.svg").getroot().itertext()
    assert any("two" in text and "1.00     1.10" in text for text in texts)


def test_without_matplotlib_the_way_to_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(EdgeVitError, match=r"pip install 'matplotlib>=3\.8'"):
        write_plot(comparison(REPORT), tmp_path / "plot.png")


@pytest.mark.parametrize(
    ("reports", "name", "match"),
    [
        ([replace(REPORT, accuracy=None)], "a.png", "that of 'small.onnx' is not known"),
        (
            [REPORT, replace(REPORT, accuracy=Accuracy("mIoU", 0.5, "so"))],
            "a.png",
            "one plot takes one metric, not mIoU, top1",
        ),
        ([REPORT], "a.pdf", "a plot is a file .png or .svg, not 'a.pdf'"),
    ],
    ids=["no accuracy", "two metrics", "another format"],
)
def test_what_cannot_be_drawn_is_refused(reports, name, match, tmp_path):
    with pytest.raises(InputError, match=match):
        write_plot(comparison(*reports), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_the_card_has_every_figure_and_warning():
    text = card(comparison(REPORT, replace(REPORT, backend="two"), warnings=("it was hot",)))
    assert "> **Warning:** it was hot." in text
    assert "| 1 | one | 4.00 | 5.00 | 6.00 | 0.25 | 250 | 400 |" in text
    assert "| 2 | 123 | 80 | 90 | 50% | 75.00% top1 |" in text
    assert "| 1 | 4.00/5.00/6.00 | 4.00/5.00/6.00 |" in text  # preprocess, runtime
    assert "| clock in the run, early and late | 1500 MHz | 1200 MHz |" in text
    assert "1. `small|model` (classify): 1.5 MiB, fp32, one cpu, 1 thread, exact" in text
    assert "![" not in text


def test_the_card_shows_the_plot_and_says_that_it_was_interrupted():
    text = card(comparison(REPORT, is_interrupted=True), plot="a/b.svg")
    assert "](a/b.svg)" in text
    assert "The run was interrupted" in text
    assert "| 1 | small\\|model |" in text
