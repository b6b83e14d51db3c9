"""Predictions on pictures of changing size keep no memory."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "bench_memory.py"
LIMIT_MIB = 5

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="resident memory is known on Linux only"
)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("model", [("tiny_anchors",), ("tiny_boxes", "--masks"), ("tiny_logits",)])
def test_predictions_keep_no_memory(tiny, model, backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    name, *options = model
    command = [sys.executable, SCRIPT, "--model", tiny.with_name(f"{name}.onnx"), *options]
    command += ["--backend", backend, "--predictions", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.splitlines()
    assert last.startswith("  1000 predictions: ")
    assert float(last.split()[-2]) < LIMIT_MIB
