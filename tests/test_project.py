"""The README's commands, the examples, and what is said about the project."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FOLDERS = (ROOT / "examples", ROOT / "examples" / "benchmarks")
EXAMPLES = {path.name: path for folder in FOLDERS for path in sorted(folder.glob("*.py"))}

# Arguments that keep an example short; the others run as they are.
PLOT = ["--plot", os.devnull] if find_spec("matplotlib") else []
ARGUMENTS = {
    "bench_attention.py": ["--shapes", "32x2x14", "--runs", "2", *PLOT],
    "bench_cache.py": ["--corruptions", "20", "--kills", "2", "--megabytes", "0.1"],
    "bench_export.py": ["--variants", "cas_vit_xs", "--input-size", "64", "--runs", "2"],
    "bench_gpu.py": [
        *("--device", "cpu", "--models", "cas_vit_xs", "--size", "64", "--batch", "1"),
        *("--precision", "fp32", "--rounds", "1", "--repeats", "1"),
    ],
    "bench_map.py": ["--streams", "1", "2", "--count", "8", "--rounds", "1"],
    "bench_memory.py": ["--predictions", "40"],
    "bench_overhead.py": ["--runs", "2"],
    "bench_quantize.py": [*2 * [ROOT / "tests" / "data" / "tiny.onnx"], "--runs", "2"],
    "bench_postprocess.py": ["--rounds", "1"],
    "bench_resample.py": ["--rounds", "2"],
    "bench_start.py": ["--runs", "1"],
    "bench_tune.py": ["--backends=onnxruntime", "--precisions=fp32", "--threads=1", "--runs=5"],
    "bench_stopwatch.py": ["--runs", "2"],
}
NEEDS_TORCH = {
    *("04_export.py", "06_families.py"),
    *("bench_attention.py", "bench_export.py", "bench_gpu.py"),
}
HAVE_TESTS_OF_THEIR_OWN = ("03_camera.py", "camera_stream.py", "fp16_parity.py")
NEEDS_ONNX = {"08_quantize.py"}
TAKES_LONG = NEEDS_TORCH - {"bench_gpu.py"} | NEEDS_ONNX


def run_example(name, *arguments):
    command = [sys.executable, str(EXAMPLES[name]), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[
                *([pytest.mark.torch] if name in NEEDS_TORCH | NEEDS_ONNX else []),
                *([pytest.mark.slow] if name in TAKES_LONG else []),
            ],
        )
        for name in EXAMPLES
        if name not in HAVE_TESTS_OF_THEIR_OWN
    ],
)
def test_every_example_runs(name):
    done = run_example(name, *ARGUMENTS.get(name, []))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_camera_example_reads_a_clip(tmp_path):
    import cv2

    clip = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(clip, cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    picture = cv2.imread(str(ROOT / "examples/pictures/airliner.jpg"))
    for _ in range(5):
        writer.write(cv2.resize(picture, (160, 120)))
    writer.release()
    done = run_example("03_camera.py", clip, 3)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3


def test_the_camera_example_says_that_a_source_cannot_be_opened():
    done = run_example("03_camera.py", "nowhere.avi")
    assert done.returncode == 1
    assert "'nowhere.avi' cannot be opened" in done.stderr


@pytest.mark.parametrize("name", ["04_export.py", "06_families.py", "08_quantize.py"])
def test_an_example_whose_packages_are_not_installed_ends_in_a_sentence(name):
    program = (
        "import runpy, sys; sys.modules['torch'] = sys.modules['onnx'] = None; "
        f"sys.argv = [{name!r}]; runpy.run_path({str(ROOT / 'examples' / name)!r})"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("this example needs ")


def test_numbered_examples_stay_short():
    long = [
        n
        for n in EXAMPLES
        if n[0].isdigit() and len(EXAMPLES[n].read_text().splitlines()) > 42
    ]
    assert long == []


def test_the_readmes_first_command_names_the_picture():
    (command,) = re.findall(r"&& python -m (edgevit classify .*)", README)
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split()[1] == "airplane"


def test_continuous_integration_runs_the_readmes_test_command():
    (command,) = re.findall(r"^python -m pip install -e .*pytest$", README, flags=re.MULTILINE)
    assert command in (ROOT / ".ci/run").read_text().splitlines()[-1]


@pytest.mark.parametrize("name", ["airliner.jpg"])
def test_the_bundled_classifier_is_sure_of_the_rendered_pictures(name):
    import edgevit

    with edgevit.Predictor() as predictor:
        result = predictor.classify(ROOT / "examples" / "pictures" / name)
    assert result.class_names[0] == "airplane"
    assert result.scores[0] > 0.5


def test_no_file_names_a_machine_or_a_registry():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode != 0 or not tracked.stdout:
        pytest.skip("this is not a git checkout")
    words = re.compile("/" + "work/|/" + r"root/|python" + r"hosted|\bpypi\." + "org")
    for name in tracked.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".json", ""} and path.is_file():
            assert not words.search(path.read_text(encoding="utf-8", errors="replace")), name


def test_the_wheel_is_pure_and_holds_what_it_needs(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    import zipfile

    program = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert wheel.name.endswith("-py3-none-any.whl")
    assert {
        "edgevit/model_zoo.yaml",
        "edgevit/py.typed",
        "edgevit/assets/cas_vit_xs_cifar10.onnx",
        "edgevit/assets/matmul.onnx",
        "edgevit_onnxruntime/__init__.py",
        "edgevit_openvino/__init__.py",
        "edgevit_tensorrt/__init__.py",
    } <= names
    assert not any(name.startswith(("tests/", "examples/")) for name in names)
