from dataclasses import replace
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from edgevit.benchmark import Accuracy, BenchmarkReport, Comparison, Percentiles, card, write_plot
from edgevit.benchmark.plot import Axis
from edgevit.benchmark.report import Arithmetic
from edgevit.core.machine.fingerprint import fingerprint
from edgevit.core.machine.state import Conditions, machine_state
from edgevit.errors import InputError

SVG = "{http://www.w3.org/2000/svg}"
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
def elements(tmp_path):
    """Draw a comparison as SVG and list its elements of a kind."""

    def find(drawn, kind):
        write_plot(drawn, tmp_path / "plot.svg")
        return ElementTree.parse(tmp_path / "plot.svg").getroot().findall(f"{SVG}{kind}")

    return find


def test_the_plot_has_a_mark_and_a_line_of_text_for_each_candidate(elements):
    drawn = comparison(report(4, 0.75), report(2, 0.70, backend="two"), report(3, 0.6, threads=2))
    texts = [text.text for text in elements(drawn, "text")]
    assert {"4 ms", "2 ms", "3 ms", "one, 2 threads", "two, 1 thread"} <= set(texts)
    assert "top1 in percent, measured on 4 images of photos" in texts
    assert len(elements(drawn, "circle")) == 3 + 3  # candidates; two backends and a precision


def test_the_best_are_joined_and_the_beaten_are_not(elements):
    drawn = comparison(report(2, 0.5), report(4, 0.9), report(5, 0.6), report(3, 0.5))
    front = [line for line in elements(drawn, "polyline") if line.get("stroke-width") == "1.5"]
    corners = [len(line.get("points").split()) for line in front]
    assert corners == [3]  # from the first, right and up to the second; not through the others


def test_precisions_have_shapes_of_their_own(elements):
    drawn = comparison(report(2, 0.5), report(1, 0.4, precision="int8"))
    assert len(elements(drawn, "polygon")) == 1 + 1  # the candidate and the legend
    assert len(elements(drawn, "circle")) == 1 + 1 + 1  # and the backend's colour


@pytest.mark.parametrize("count", [1, 2, 30])
def test_numbers_stand_apart_where_marks_lie_together(count, elements):
    reports = [report(2 + 0.001 * n, 0.5) for n in range(count)]
    texts = elements(comparison(*reports), "text")
    places = [
        (float(text.get("x")), float(text.get("y")))
        for text in texts
        if text.get("text-anchor") == "middle" and text.text in map(str, range(1, count + 1))
    ]
    assert len(set(places)) >= count


def test_a_png_has_the_marks_colours(tmp_path):
    drawn = comparison(report(2, 0.5), report(1, 0.4, precision="int8", backend="two"))
    write_plot(drawn, tmp_path / "plot.png")
    pixels = cv2.imread(str(tmp_path / "plot.png"))
    for red, green, blue in ((0x1F, 0x6F, 0xB4), (0xD1, 0x62, 0x1B)):
        assert np.all(pixels == (blue, green, red), axis=-1).sum() > 100


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        pytest.param(Axis(0, 10, 0, 100), [0, 2, 4, 6, 8, 10], id="linear"),
        pytest.param(Axis(0.62, 0.9, 0, 1), [0.65, 0.7, 0.75, 0.8, 0.85, 0.9], id="shares"),
        pytest.param(Axis(1.5, 90, 0, 1, is_log=True), [2, 5, 10, 20, 50], id="logarithmic"),
    ],
)
def test_ticks_are_round(axis, ticks):
    assert axis.ticks() == pytest.approx(ticks)


def test_a_logarithmic_axis_gives_ratios_the_same_way():
    axis = Axis(1, 100, 0, 200, is_log=True)
    assert [axis.at(value) for value in (1, 10, 100)] == pytest.approx([0, 100, 200])


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
