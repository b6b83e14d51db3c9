import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edgevit.cli import main

RED = np.zeros((40, 60, 3), np.uint8)
RED[..., 2] = 255


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(cv2.imencode(".png", RED)[1].tobytes())
    return path


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    "command",
    [
        (),
        *(
            (name,)
            for name in (
                *("classify", "detect", "segment", "eval"),
                *("export", "bench", "cache", "doctor", "parity", "zoo"),
            )
        ),
    ],
)
def test_every_command_has_help(command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_help_needs_no_runtime_and_no_torch():
    program = (
        "import sys; from edgevit.cli import main\n"
        "try: main(['export', '--help'])\n"
        "except SystemExit: print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "onnx", "onnxruntime", "openvino"}


def test_classify_prints_names_and_shares(tiny, picture):
    result = run("classify", picture, "--model", tiny)
    assert result.exit_code == 0
    assert result.output.splitlines()[1].split()[1] == "red"


def test_classify_prints_one_json_document_for_each_picture(tiny, picture):
    result = run("classify", picture, picture, "--model", tiny, "--json", "--top-k", 2)
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(documents) == 2
    assert list(documents[0]) == ["image", "model", "backend", "task", "result", "timings_ms"]
    assert documents[0]["result"]["class_names"][0] == "red"
    assert len(documents[0]["result"]["scores"]) == 2


def test_classify_goes_on_after_a_bad_picture_and_exits_1(tiny, picture):
    result = run("classify", "nowhere.png", picture, "--model", tiny, "--json")
    assert result.exit_code == 1
    assert "nowhere.png" in result.stderr
    assert json.loads(result.stdout)["image"] == str(picture)


def test_classify_writes_the_picture_with_its_classes(tiny, picture, tmp_path):
    output = tmp_path / "drawn.png"
    assert run("classify", picture, "--model", tiny, "--output", output).exit_code == 0
    drawn = cv2.imread(str(output))
    assert drawn.shape == RED.shape
    assert not np.array_equal(drawn, RED)


def test_classify_refuses_an_output_it_cannot_write(tiny, picture, tmp_path):
    result = run("classify", picture, "--model", tiny, "--output", tmp_path / "drawn.xyz")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


def test_an_error_is_one_sentence_and_exit_code_1(picture):
    result = run("classify", picture, "--model", "nowhere.onnx")
    assert (result.exit_code, result.stderr) == (
        1,
        "edgevit: there is no model file 'nowhere.onnx'\n",
    )


def test_debug_shows_the_traceback(picture):
    result = run("--debug", "classify", picture, "--model", "nowhere.onnx")
    assert type(result.exception).__name__ == "ModelNotFoundError"


@pytest.mark.parametrize(
    "arguments",
    [("classify",), ("nonsense",), ("classify", "x.png", "--top-k", "0"), ("export", "cas_vit_s")],
    ids=" ".join,
)
def test_wrong_usage_exits_2(arguments):
    assert run(*arguments).exit_code == 2


def test_doctor_names_every_backend():
    result = run("doctor", "--json")
    document = json.loads(result.stdout)
    assert {backend["name"] for backend in document["backends"]} >= {"onnxruntime", "openvino"}
    assert document["threads"] >= 1


def test_doctor_proves_a_model_on_every_installed_backend(tiny):
    result = run("doctor", tiny, "--json")
    tests = [test for test in json.loads(result.stdout)["self_test"] if test["device"]]
    assert result.exit_code == 0
    assert tests
    assert all(test["problem"] is None for test in tests)


def test_doctor_finds_a_model_that_answers_wrongly(tiny, tmp_path):
    spec = spec_with_other_answers(tiny)
    path = tmp_path / "wrong.onnx"
    path.write_bytes(tiny.read_bytes().replace(*spec))
    result = run("doctor", path, "--json")
    problems = [
        test["problem"] for test in json.loads(result.stdout)["self_test"] if test["device"]
    ]
    assert result.exit_code == 1
    assert all("outputs differ" in problem for problem in problems)


def spec_with_other_answers(tiny):
    """The stored answers, and others of the same length."""
    import edgevit

    samples = edgevit.Predictor(tiny).spec.test_vector.outputs["logits"].to_dict()["values"]
    other = type(edgevit.Predictor(tiny).spec.test_vector.batch).of(np.full(3, 7, np.float32))
    return samples.encode(), other.to_dict()["values"].encode()


def test_doctor_refuses_a_model_without_test_vector(tiny):
    result = run("doctor", tiny.with_name("bare.onnx"))
    assert result.exit_code == 1
    assert "carries no edgevit spec" in result.stderr


def test_zoo_list_names_the_models():
    result = run("zoo", "list")
    assert "cas_vit_xs_cifar10" in result.output
    assert "83.9 / 84.1" in result.output


def test_zoo_list_as_json_says_what_is_here():
    models = {row["name"]: row for row in json.loads(run("zoo", "list", "--json").stdout)["models"]}
    assert models["cas_vit_xs_cifar10"]["is_here"]
    assert not models["cas_vit_s"]["is_here"]


def test_zoo_show_says_how_to_get_a_model():
    result = run("zoo", "show", "cas_vit_m")
    assert "edgevit export cas_vit_m --checkpoint" in result.output


def test_zoo_show_prints_parameters_and_flops():
    lines = run("zoo", "show", "litv2_b_384").output.splitlines()
    assert "parameters    86520704" in lines
    assert any(line.startswith("multiply_adds 39646044160 (39.65 G; papers call") for line in lines)


def test_zoo_show_of_an_unknown_model_suggests_one():
    result = run("zoo", "show", "casvit_m")
    assert result.exit_code == 1
    assert "did you mean 'cas_vit_m'" in result.stderr


@pytest.mark.parametrize("size", ["0", "224x", "axb", "1x2x3", "-5"])
def test_a_size_that_is_none_is_wrong_usage(size, tmp_path):
    result = run("export", "cas_vit_xs", "--output", tmp_path / "x.onnx", "--input-size", size)
    assert result.exit_code == 2


WITHOUT = """
import sys
for name in {names!r}:
    sys.modules[name] = None
from edgevit.cli import main
main({arguments!r})
"""


def run_without(names, *arguments):
    program = WITHOUT.format(names=names, arguments=[str(argument) for argument in arguments])
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_without_any_runtime_classify_says_how_to_install_them(tiny, picture):
    done = run_without(["onnxruntime", "openvino"], "classify", picture, "--model", tiny)
    assert done.returncode == 1
    assert "python -m pip install 'onnxruntime>=1.20'" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_says_one_line_of_a_backend_that_is_not_installed():
    done = run_without(["onnxruntime", "openvino"], "doctor")
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if line.startswith("backend onnxruntime")]
    assert lines == [
        "backend onnxruntime: not installed (python -m pip install 'onnxruntime>=1.20')"
    ]


def test_without_pytorch_export_says_how_to_install_it(tmp_path):
    done = run_without(["torch"], "export", "cas_vit_xs", "--output", tmp_path / "x.onnx")
    assert done.returncode == 1
    assert "exporting needs torch" in done.stderr
    assert "python -m pip install 'torch>=2.5' 'onnx>=1.17'" in done.stderr


def test_without_pytorch_and_onnx_a_picture_is_classified(tiny, picture):
    done = run_without(["torch", "onnx", "PIL"], "classify", picture, "--model", tiny)
    assert done.returncode == 0, done.stderr
