"""Detections on pictures of changing size keep no memory."""

import subprocess
import sys

import pytest
from paths import EXAMPLES

SCRIPT = EXAMPLES / "benchmarks" / "bench_memory.py"
LIMIT_MIB = 5

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="resident memory is known on Linux only"
)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("model", [("tiny_anchors",), ("tiny_boxes", "--masks")], ids=" ".join)
def test_detections_keep_no_memory(tiny, model, backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    name, *options = model
    command = [sys.executable, SCRIPT, "--model", tiny.with_name(f"{name}.onnx"), *options]
    command += ["--backend", backend, "--predictions", "600"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.splitlines()
    assert last.startswith("   600 predictions: ")
    assert float(last.split()[-2]) < LIMIT_MIB
