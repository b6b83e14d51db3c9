import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgevit.convert
from edgevit.core.runtime.registry import get_backend
from edgevit.core.runtime.settings import profiles_dir
from edgevit.errors import EdgeVitError, ExportError, InputError
from edgevit.predictor import Predictor
from edgevit.tune import Choices, Goal, search
from edgevit.tune.convert import CONVERTERS, model_files
from edgevit.tune.explain import explain, explain_all

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

COLORS = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0)}
CHOICES = Choices(backends=["onnxruntime"], threads=[1])


@pytest.fixture
def data(tmp_path):
    for name, color in COLORS.items():
        path = tmp_path / "data" / name / "1.png"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), np.full((10, 12, 3), color, np.uint8))
    return tmp_path / "data"


@pytest.fixture
def model(tiny, tmp_path):
    return Path(shutil.copy(tiny, tmp_path / "model.onnx"))


@pytest.fixture
def other(model):
    path = model.with_name("other.onnx")
    path.write_bytes(model.read_bytes() + b"\x32\x01x")  # a doc_string
    return path


def test_a_search_on_this_machine_keeps_what_predictor_obeys(model, data):
    report = search(model, data, choices=CHOICES, converters={})
    assert (report.figure, report.reference_accuracy, report.is_complete) == ("top1", 1.0, True)
    assert {row.candidate.preprocess for row in report.rows} == {"exact", "fast"}
    assert report.choice.accuracy == 1.0
    assert report.choice.runs > 100
    assert [str(explain(model).path)] == list(report.profiles)
    assert explain(model).problem is None
    with Predictor(model) as predictor:
        assert predictor.backend == "onnxruntime"
        assert predictor.preprocess_mode == report.choice.candidate.preprocess


def test_the_report_is_one_json_document_with_a_choice(model, data, simulated):
    report = search(model, data, choices=CHOICES, converters={}, keep=False)
    document = json.loads(json.dumps(report.to_dict()))
    choice = document["choice"]
    assert choice["model"] == choice["path"] == str(model)
    assert (choice["backend"], choice["device"], choice["threads"]) == ("onnxruntime", "cpu", 1)
    assert (choice["precision"], choice["preprocess"], choice["p95_ms"]) == ("fp32", "fast", 2.0)
    assert len(document["candidates"]) == 2
    assert not profiles_dir().exists()


def test_another_variant_is_recommended_and_every_model_gets_its_own_best(
    model, other, data, simulated
):
    report = search([model, other], data, choices=CHOICES, converters={})
    assert report.choice.candidate.file.model == other
    assert explain(model).profile.recommends == str(other)
    assert explain(other).profile.recommends is None
    assert len(explain_all()) == 2
    with Predictor(model) as predictor:
        assert predictor.path == model


def test_a_converted_file_of_the_model_may_be_chosen(model, data, simulated):
    def copy(source, output, pictures, say):
        assert len(pictures) == 3
        output.write_bytes(source.read_bytes() + b"\x32\x05other")

    report = search(
        model, data, choices=Choices(["onnxruntime"], threads=[1]), converters={"other": copy}
    )
    assert report.choice.candidate.file.precision == "other"
    with Predictor(model) as predictor:
        assert predictor.path == report.choice.candidate.file.path
        assert predictor.path.parent.name == "converted"
    report.choice.candidate.file.path.unlink()
    assert "is gone or another one" in explain(model).problem


def test_what_cannot_be_converted_is_left_out_with_the_reason(model, data, monkeypatch):
    def refuse(source, output, pictures, say):
        raise ExportError("an operator is unknown")

    files, notes = model_files(model, None, [], converters={"int8": refuse})
    assert [file.precision for file in files] == ["fp32"]
    assert notes == ["model.onnx: int8 is left out: an operator is unknown"]
    assert list(files[0].path.parent.glob(".*")) == []
    monkeypatch.delitem(vars(edgevit.convert), "quantize", raising=False)
    monkeypatch.setitem(sys.modules, "edgevit.convert.int8.quantize", None)
    _, notes = model_files(model, ["int8"], [], converters={"int8": CONVERTERS["int8"]})
    assert "pip install" in notes[0]


def test_a_limit_that_nothing_keeps_is_no_choice_and_no_profile(model, data, simulated):
    report = search(model, data, goal=Goal(p95_ms=1), choices=CHOICES, converters={})
    assert (report.choice, report.profiles) == (None, ())


def test_a_model_that_changes_meanwhile_is_not_kept(model, data, simulated):
    def change(what, done, total):
        if what.startswith("final"):
            model.write_bytes(model.read_bytes())

    with pytest.raises(EdgeVitError, match="was changed while it was tuned"):
        search(model, data, choices=CHOICES, converters={}, progress=change)


def test_an_interrupt_keeps_nothing(model, data, simulated):
    def interrupt(what, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(model, data, choices=CHOICES, converters={}, progress=interrupt)
    assert not profiles_dir().exists()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"models": []}, "there is no model to tune"),
        ({"models": ["tiny.onnx", "tiny_anchors.onnx"]}, "not for the task and classes"),
        ({"models": ["bare.onnx"]}, "carries no edgevit spec"),
        ({"choices": Choices(device="warp")}, "no backend has the device 'warp'"),
        ({"choices": Choices(backends=["wrap"])}, "backend 'wrap' is not registered"),
        ({"choices": Choices(precisions=["int3"])}, "no model can be had in the precisions"),
        ({"goal": Goal(budget_s=1e-9)}, "do not suffice to convert"),
    ],
    ids=str,
)
def test_what_cannot_be_searched_is_said(tiny, data, simulated, arguments, match):
    models = [tiny.with_name(name) for name in arguments.pop("models", ["tiny.onnx"])]
    with pytest.raises((InputError, EdgeVitError), match=match):
        search(models, data, converters={}, **arguments)


@pytest.mark.parametrize("threads", [[], [2, 0]])
def test_thread_counts_that_cannot_be_are_refused(threads):
    with pytest.raises(InputError, match="threads must be whole numbers from 1 up"):
        Choices(threads=threads)


def test_there_is_nothing_to_explain_before(model):
    with pytest.raises(InputError, match="there is no device profile for"):
        explain(model)
    assert explain_all() == []
    assert get_backend("onnxruntime")


def test_a_profile_whose_model_is_gone_says_so(model, data, simulated):
    search(model, data, choices=CHOICES, converters={})
    model.unlink()
    assert "is gone or another one" in explain_all()[0].problem
