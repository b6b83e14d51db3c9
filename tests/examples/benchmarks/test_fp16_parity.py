"""The comparison of half precision with float32 runs and finds them alike."""

import subprocess
import sys

import pytest
from paths import EXAMPLES

pytestmark = pytest.mark.torch


def test_the_bundled_classifier_is_alike_in_half_precision(tmp_path):
    for name in ("airliner.jpg", "ship.jpg"):
        (tmp_path / name).write_bytes((EXAMPLES / "pictures" / name).read_bytes())
    command = [sys.executable, EXAMPLES / "benchmarks" / "fp16_parity.py", "--data", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    name, *figures = done.stdout.splitlines()[-1].split()
    assert name == "cas_vit_xs_cifar10"
    on_the_processor, rounded = figures[:4], figures[4:8]
    for top1, *errors in (on_the_processor, rounded):
        assert float(top1) == 100
        assert 0 < float(max(errors, key=float)) < 2
