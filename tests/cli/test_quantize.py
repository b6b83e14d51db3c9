"""`edgevit quantize`."""

import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("onnx_ir", reason="onnx_ir is not installed (the extra `quantize`)")


from small_model import write_small_model

from edgevit.cli import main


def run(*arguments):
    return CliRunner().invoke(main, ["quantize", *(str(argument) for argument in arguments)])


@pytest.fixture
def small(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 48, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), pixels)
    return write_small_model(tmp_path / "small.onnx")


def test_quantize_shows_what_layers_cost_and_what_was_written(small, tmp_path):
    output = tmp_path / "int8.onnx"
    result = run(
        small, "--calibration", tmp_path / "pictures", "--output", output, "--target", "tensorrt"
    )
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split("│")[1].strip() for line in lines if "int8 │" in line] != []
    assert "form: tensorrt's" in lines
    assert lines[-1].startswith(f"wrote {output}: small_int8, 3 of 3 layers in int8, ")
    assert any(line.startswith("note: only 3 images calibrated") for line in lines)


def test_quantize_prints_one_json_document(small, tmp_path):
    output = tmp_path / "int8.onnx"
    options = ("--target", "tensorrt", "--rule", "minmax", "--keep-float", "fc2", "--json")
    result = run(small, "--calibration", tmp_path / "pictures", "--output", output, *options)
    document = json.loads(result.stdout)
    assert (document["path"], document["rule"], document["images"]) == (str(output), "minmax", 3)
    precisions = {layer["layer"]: layer["precision"] for layer in document["layers"]}
    assert precisions == {"mix": "int8", "fc1": "int8", "fc2": "fp32"}


def test_quantize_refuses_in_one_sentence(small, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run(small, "--calibration", tmp_path / "empty", "--output", tmp_path / "int8.onnx")
    assert result.exit_code == 1
    assert result.stderr.startswith("edgevit: no images in ")
    assert not (tmp_path / "int8.onnx").exists()
