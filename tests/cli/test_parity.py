"""`edgevit parity`."""

import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from paths import DATA

from edgevit.cli import main
from edgevit.predictor import Predictor

CHAIN = DATA / "tiny_chain.onnx"


def run(*arguments):
    return CliRunner().invoke(main, ["parity", *(str(argument) for argument in arguments)])


@pytest.fixture
def folder(tmp_path):
    for name in ("onnxruntime", "openvino"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    for name, color in (("red", (0, 0, 255)), ("blue", (255, 0, 0))):
        (tmp_path / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), np.full((9, 9, 3), color, np.uint8))
    content = CHAIN.read_bytes()
    scale, wrong = (np.float32(value).tobytes() for value in (0.1, 0.2))
    (tmp_path / "wrong.onnx").write_bytes(content.replace(scale, wrong))
    return tmp_path


def test_parity_exits_0_and_shows_the_figures(folder):
    result = run(CHAIN, "--backend", "onnxruntime:cpu,openvino", "--data", folder)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "reference tiny_chain.onnx on onnxruntime cpu, fp32" in result.stdout
    assert "tiny_chain.onnx on openvino cpu, fp32: parity; 100.000% agree" in result.stdout
    assert "│ logits │" in result.stdout
    assert "top1                      100.000%" in result.stdout


def test_a_segmenter_shows_every_class(folder):
    result = run(CHAIN.with_name("tiny_classes.onnx"), "--data", folder)
    assert result.exit_code == 0
    assert "iou green                      -\n" in result.stdout  # which does not occur


def test_no_parity_exits_1_with_a_sentence_and_the_node(folder):
    card = folder / "card.md"
    result = run(CHAIN, folder / "wrong.onnx", "--data", folder, "--card", card)
    assert result.exit_code == 1
    assert result.stderr.startswith("edgevit: no parity, wrong.onnx on ")
    assert result.stderr.count("\n") == 1
    assert "the first node that diverges: Mul 'node_scaled'" in result.stdout
    assert card.read_text().startswith("# Parity of tiny_chain: no")


def test_json_is_one_document(folder):
    result = run(CHAIN, folder / "wrong.onnx", "--data", folder, "--json", "--limit", 1)
    document = json.loads(result.stdout)
    assert (result.exit_code, document["is_parity"], document["pictures"]) == (1, False, 1)
    (pair,) = document["pairs"]
    assert pair["divergence"]["node"] == "node_scaled"
    assert pair["tensors"][0]["output"] == "logits"
    assert document["fingerprint"]["packages"]["onnxruntime"]
    assert document["reference"]["precision"] == "fp32"


def test_limits_are_options(folder):
    arguments = (CHAIN, folder / "wrong.onnx", "--data", folder)
    assert run(*arguments, "--tolerance", 10, "--min-agreement", 0.5).exit_code == 0
    result = run(*arguments, "--no-bisect")
    assert (result.exit_code, "first node" in result.stdout) == (1, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((CHAIN, "--backend", "openvino"), "parity compares two sides or more"),
        ((CHAIN, "--backend", "openvino,openvinno"), "did you mean 'openvino'"),
        ((CHAIN, "--backend", "openvino,onnxruntime:tpu"), "device 'tpu' is not available"),
        ((CHAIN, "--split", "val"), "no folder of images"),
        ((CHAIN, "--card", "nowhere/card.md"), "cannot be written"),
        (("nowhere.onnx",), "there is no model file"),
    ],
    ids=["one", "unknown", "device", "split", "card", "model"],
)
def test_what_does_not_work_is_one_sentence(folder, arguments, message):
    result = run(*arguments, "--data", folder)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr


@pytest.mark.parametrize(
    "arguments", [(), (CHAIN,), (CHAIN, "--data", ".", "--min-agreement", 2)], ids=len
)
def test_wrong_usage_exits_2(arguments):
    assert run(*arguments).exit_code == 2


def test_an_interrupt_ends_it_cleanly(folder, monkeypatch):
    def interrupted(self, batch, **graph_inputs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "infer", interrupted)
    result = run(CHAIN, "--data", folder)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "\nAborted!\n")
