"""`edgevit tune`."""

import json
import shutil

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from tiny_data import write_tiny_data

from edgevit.cli import main
from edgevit.cli.tune_tables import _print_evidence

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

FAST = ("--backend", "onnxruntime", "--threads", 1, "--precision", "fp32")


def run(*arguments):
    return CliRunner().invoke(main, ["tune", *(str(argument) for argument in arguments)])


@pytest.fixture
def data(tmp_path):
    for name, color in {"red": (0, 0, 255), "green": (0, 255, 0)}.items():
        path = tmp_path / "data" / name / "1.png"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), np.full((10, 12, 3), color, np.uint8))
    return tmp_path / "data"


def test_tune_prints_the_table_and_its_choice_and_explains_it_later(tiny, data, tmp_path):
    model = shutil.copy(tiny, tmp_path / "model.onnx")
    done = run(model, "--data", data, *FAST)
    assert done.exit_code == 0, done.stderr
    assert "chosen model fp32 on onnxruntime, 1 until-done, " in done.stdout
    assert "reference: top1 100.00% on " in done.stdout
    assert "kept in " in done.stdout
    assert done.stdout.splitlines()[0].split()[:4] == ["precision", "backend", "threads", "mode"]
    assert max(map(len, done.stdout.splitlines()[:3])) <= 80
    assert "final: 2 candidates: done" in done.stderr
    explained = run("--explain", model).stdout
    assert "obeyed here" in explained
    assert "chosen model fp32 on onnxruntime" in explained
    assert str(model) in run("--explain").stdout
    document = json.loads(run("--explain", "--json").stdout)
    assert document["profiles"][0]["problem"] is None
    assert document["profiles"][0]["choice"]["backend"] == "onnxruntime"


def test_tune_prints_one_json_document_and_keeps_nothing_if_told(tiny, data):
    done = run(tiny, "--data", data, *FAST, "--preprocess", "exact", "--json", "--no-profile")
    document = json.loads(done.stdout)
    assert done.stderr == ""
    assert {"model", "backend", "precision", "threads"} <= set(document["choice"])
    assert document["profiles"] == []
    assert "no device profiles yet" in run("--explain").stdout


def test_a_detector_is_tuned_by_its_average_precision(tiny, tmp_path):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    model = shutil.copy(tiny.with_name("tiny_anchors.onnx"), tmp_path / "model.onnx")
    data = write_tiny_data("detect", tmp_path / "data")
    done = run(model, "--data", data, *FAST, "--preprocess", "exact", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["task"], document["figure"]) == ("detect", "bbox_AP")
    assert document["choice"]["accuracy"] == document["reference_accuracy"] == pytest.approx(1)


def test_nothing_chosen_is_exit_code_1(tiny, data):
    done = run(tiny, "--data", data, *FAST, "--p95-ms", 1e-6)
    assert done.exit_code == 1
    assert "nothing is chosen: no candidate that loses at most 1 points answers" in done.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("--data", ".", "--threads", "1,x"), ("--objective", "speed")], ids=str
)
def test_wrong_usage_exits_2(tiny, arguments):
    assert run(tiny, *arguments).exit_code == 2


def test_there_is_nothing_to_explain(tiny):
    done = run("--explain", tiny)
    assert (done.exit_code, "there is no device profile for" in done.stderr) == (1, True)


def test_reasons_stand_below_the_table(capsys):
    row = {
        **dict.fromkeys(("rss_mib", "accuracy"), None),
        "model": "m.onnx",
        "precision": "int8",
        "backend": "openvino",
        "device": "cpu",
        "threads": 2,
        "streams": 1,
        "spinning": "default",
        "preprocess": "exact",
        "p50_ms": 1.0,
        "p95_ms": 2.0,
        "runs": 3,
        "is_pareto": False,
    }
    reason = "loses 5.00 points of accuracy, more than 1"
    rows = [{**row, "problem": reason}, {**row, "threads": 1, "problem": reason}]
    report = {"candidates": rows, "choice": None, "figure": "top1", "reference_accuracy": 0.9}
    rest = {"goal": {"objective": "latency"}, "data": "photos", "is_complete": True, "spent_s": 1}
    _print_evidence({**report, **rest, "failed": [], "notes": []})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[1:3]] == ["(1)", "(1)"]
    assert lines[3] == f"(1) {reason}"
