"""`edgevit bench`."""

import json
import re
import sys

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edgevit.benchmark import measure
from edgevit.cli import main

SHORT = ("--runs", 3, "--image-size", "30x40", "--starts", 0)
COLORS = {"red": (0, 0, 255), "green": (0, 255, 0)}


def run(*arguments):
    return CliRunner().invoke(main, ["bench", *(str(argument) for argument in arguments)])


@pytest.fixture
def folders(tmp_path):
    """A red and a green picture in their classes' folders, and a green one that is called red."""
    for name, color in (("red/1", "red"), ("green/1", "green"), ("red/2", "green")):
        path = tmp_path / "colors" / f"{name}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        cv2.imwrite(str(path), np.full((10, 12, 3), COLORS[color], np.uint8))
    return tmp_path / "colors"


def test_bench_prints_one_json_document(tiny):
    result = run(tiny, "--runs", 3, "--image-size", "30x40", "--starts", 1, "--json")
    document = json.loads(result.stdout)
    (report,) = document["models"]
    assert set(report["stages_ms"]) == {"preprocess", "infer", "postprocess", "total", "runtime"}
    assert report["stages_ms"]["total"]["p99"] >= report["stages_ms"]["total"]["p50"] > 0
    assert report["first_answer_ms"] > 0
    assert report["arithmetic"]["gflop"] == 18 / 1e9
    assert set(document) == {"models", "fingerprint", "machine", "is_interrupted"}


def test_bench_of_one_candidate_prints_sentences(tiny, folders):
    result = run(tiny, "--runs", 2, "--starts", 1, "--image", folders / "red/1.png")
    assert result.exit_code == 0
    assert "tiny (fp32) on " in result.output
    assert "overhead over the runtime's bare run" in result.output
    assert "of a large matrix product's" in result.output
    assert "first answer of a new process" in result.output


def test_bench_of_a_file_without_a_count_says_so(tiny):
    result = run(tiny.with_name("tiny_dynamic.onnx"), *SHORT)
    assert "the file records no count of operations" in result.output


def test_lists_and_repeated_options_multiply(tiny):
    pytest.importorskip("openvino", reason="openvino is not installed")
    choices = ("--backend", "onnxruntime,openvino", "--threads", 1, "--threads", "2,1")
    result = run(tiny, *choices, "--preprocess", "exact,fast", *SHORT, "--json")
    measured = [
        (report["backend"], report["threads"], report["preprocess"])
        for report in json.loads(result.stdout)["models"]
    ]
    backends, threads, modes = ("onnxruntime", "openvino"), (1, 2), ("exact", "fast")
    assert measured == [(b, t, m) for b in backends for t in threads for m in modes]


def test_several_candidates_are_tables_that_fit_a_terminal(tiny):
    result = run(tiny, "--backend", "onnxruntime", "--threads", "1,2", *SHORT)
    assert result.output.startswith("2 candidates in turn, 30x40, 3 runs")
    for heading in ("p95 ms", "overhead", "runtime", "matrix rate"):
        assert heading in result.output
    assert "fastest: " in result.output
    assert max(map(len, result.output.splitlines())) <= 80


def test_accuracy_is_measured_and_goes_into_card_and_plot(tiny, folders, tmp_path):
    card, plot = tmp_path / "out/card.md", tmp_path / "out/plots/plot.svg"
    options = ("--threads", "1,2", "--backend", "onnxruntime", "--data", folders)
    result = run(tiny, *options, "--card", card, "--plot", plot, *SHORT)
    assert result.exit_code == 0, result.output
    assert result.output.count("66.67% top1") == 2
    assert "](plots/plot.svg)" in card.read_text()
    assert "top1 measured on 3 images of colors" in card.read_text()
    assert "2 threads" in plot.read_text()


def test_the_zoos_accuracy_is_stated_where_none_is_measured():
    result = run("--backend", "onnxruntime", "--runs", 1, "--starts", 0, "--json")
    (report,) = json.loads(result.stdout)["models"]
    assert report["precision"] == "fp16-weights"
    assert report["accuracy"] == {
        "metric": "top-1",
        "value": pytest.approx(0.9018),
        "source": "stated by the model zoo",
    }


def test_data_that_does_not_fit_is_said_after_the_figures(tiny, tmp_path):
    result = run(tiny, *SHORT, "--data", tmp_path)
    assert result.exit_code == 1
    assert "overhead over the runtime's bare run" in result.stdout
    assert str(tmp_path) in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--threads", "two"), "'two' is not a valid integer range"),
        (("--threads", "1,0"), "0 is not in the range"),
        (("--preprocess", "exact,slow"), "'slow' is not one of"),
        (("--plot", "a.pdf"), "--plot is a file .png or .svg, not 'a.pdf'"),
        (("--plot", "a.png"), "pass --data DIR to measure it"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_refused_before_anything_runs(tiny, options, message):
    result = run(tiny, *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_plot_without_matplotlib_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run("--plot", "a.png")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "pip install 'matplotlib>=3.8'" in result.stderr


def test_a_card_that_cannot_be_written_is_an_error_after_the_figures(tiny, tmp_path):
    (tmp_path / "file").touch()
    result = run(tiny, *SHORT, "--card", tmp_path / "file/card.md")
    assert result.exit_code == 1
    assert "memory" in result.stdout or "throughput" in result.stdout
    assert "cannot be written" in result.stderr


def test_an_interrupt_prints_what_was_measured(tiny, monkeypatch, tmp_path):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "_map_in_turn", interrupted)
    result = run(tiny, *SHORT, "--data", tmp_path, "--plot", tmp_path / "plot.png")
    assert result.exit_code == 1
    assert "overhead over the runtime's bare run" in result.stdout
    assert "edgevit: interrupted after 3 of 3 runs" in result.stderr
    assert not (tmp_path / "plot.png").exists()


def test_what_is_fastest_comes_with_its_accuracy_or_that_none_was_measured(tiny, folders):
    options = ("--backend", "onnxruntime", "--threads", "1,2", *SHORT)
    assert "; accuracy: not measured (--data DIR measures it)" in run(tiny, *options).output
    measured = run(tiny, *options, "--data", folders).output
    assert re.search(r"fastest: . threads?; top1: 66.67%, measured on 3 images", measured)
