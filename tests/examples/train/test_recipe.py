from __future__ import annotations

import argparse
import io
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import EXAMPLES, ROOT

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

from edgevit.export.checkpoint.weights import load_strictly, read_checkpoint  # noqa: E402
from edgevit.models import create  # noqa: E402

pytestmark = pytest.mark.torch

RECIPE = EXAMPLES / "train"
TINY = (
    *("--batch-size=16", "--holdout=8", "--phases", "0.5:8", "1:16", "--eval-size=16"),
    "--cutmix=0.5",
)


def write_split(path: Path, count: int) -> None:
    """JPEGs of noise, in the layout of the data folder."""
    rng = np.random.default_rng(count)
    files = []
    for pixels in rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG")
        files.append(np.frombuffer(stream.getvalue(), np.uint8))
    offsets = np.cumsum([0, *map(len, files)])
    labels = (np.arange(count) % 10).astype(np.uint8)
    classes = np.array([f"class {index}" for index in range(10)])
    np.savez(path, jpeg=np.concatenate(files), offsets=offsets, labels=labels, classes=classes)


def start(script: str, *options: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, RECIPE / script, *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    pipes = {"stdout": pipe, "stderr": pipe, "text": True}
    return subprocess.Popen(command, env=environment, preexec_fn=heed_interrupts, **pipes)


def heed_interrupts() -> None:
    """A shell starts what it puts in the background deaf to Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(script: str, *options: str | Path) -> tuple[int, str, str]:
    process = start(script, *options)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cifar10")
    write_split(folder / "cifar10_train.npz", 72)
    write_split(folder / "cifar10_test.npz", 20)
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of one epoch by two workers."""
    folder = tmp_path_factory.mktemp("trained")
    options = (f"--data={data}", f"--output={folder}", "--epochs=1", "--processes=2", *TINY)
    code, _, errors = run("train_cifar10.py", *options)
    assert code == 0, errors
    return folder


def test_results_of_a_run_are_finite_and_complete(trained):
    results = json.loads((trained / "results.json").read_text())

    figures = [results[f"top1_{name}"] for name in ("ema", "ema_float16", "raw")]
    assert all(map(math.isfinite, [*figures, *results["top1_ema_by_class"].values()]))
    assert results["images_seen"] == {"8": 32, "16": 32}
    assert (results["epochs"], results["options"]["processes"]) == (1, 2)
    assert results["parameters"] == 2_763_120
    assert results["minutes"] > 0


def test_checkpoint_has_the_official_layout(trained):
    with torch.serialization.safe_globals([argparse.Namespace]):
        checkpoint = torch.load(trained / "checkpoint.pth", weights_only=True)

    assert {"model", "model_ema", "optimizer", "epoch", "args"} <= set(checkpoint)
    assert checkpoint["args"].model == "cas_vit_xs"


@pytest.mark.parametrize("name", ["checkpoint.pth", "cas_vit_xs_cifar10.pth"])
def test_export_reads_the_weights_of_a_run(trained, name):
    checkpoint = read_checkpoint(trained / name)

    load_strictly(create("cas_vit_xs", num_classes=10), checkpoint.state_dict)
    assert checkpoint.source == "ema"


def test_evaluation_of_the_slim_file_repeats_the_results(trained, data, tmp_path):
    slim, file = trained / "cas_vit_xs_cifar10.pth", tmp_path / "again.json"
    options = (f"--data={data}", f"--checkpoint={slim}", "--size=16", f"--json={file}")

    code, output, errors = run("evaluation.py", *options)

    assert code == 0, errors
    assert "EMA as float16" in output
    again, results = (json.loads(path.read_text()) for path in (file, trained / "results.json"))
    assert again == {name: results[name] for name in again} | {"top1_raw": None}


@pytest.mark.slow
def test_run_by_the_clock_ends_when_its_minutes_are_over(data, tmp_path):
    code, output, errors = run(
        "train_cifar10.py",
        f"--data={data}",
        f"--output={tmp_path}",
        "--minutes=0.02",
        "--lr=1e-4",  # a run this short has no warm-up, and must not diverge on noise
        "--muon-lr=0",
        *TINY,
    )

    assert code == 0, errors
    assert "100.0 % of the run" in output
    assert json.loads((tmp_path / "results.json").read_text())["minutes"] >= 0.02


def test_mixed_precision_gives_nearly_the_loss_of_full_precision(data, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(RECIPE)
    from cifar10 import load_split, split_file
    from train_cifar10 import parse_arguments
    from trainer import Trainer
    from workers import Worker

    losses = []
    for amp in ("off", "on"):
        args = parse_arguments([f"--data={data}", f"--output={tmp_path}", f"--amp={amp}"])
        pictures = load_split(split_file(data, "train"))
        trainer = Trainer(args, torch.device("cpu"), pictures, Worker())
        batch = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        losses.append(trainer.loss(batch, pictures.labels[:16], torch.ones(16)).item())

    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_finished_run_is_not_overwritten(trained, data):
    code, _, errors = run("train_cifar10.py", f"--data={data}", f"--output={trained}")

    assert code == 1
    assert "pass --resume, or another --output" in errors


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT as a terminal does")
def test_interrupted_run_resumes_to_the_weights_of_an_unbroken_one(data, tmp_path):
    options = ("train_cifar10.py", f"--data={data}", "--epochs=3", *TINY)
    process = start(*options, f"--output={tmp_path / 'broken'}")
    next(line for line in process.stdout if "hold-out" in line)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)

    run(*options, f"--output={tmp_path / 'broken'}", "--resume")
    run(*options, f"--output={tmp_path / 'whole'}")

    assert (process.returncode, "and --resume" in errors) == (130, True), errors
    broken, whole = (
        read_checkpoint(tmp_path / name / "checkpoint.pth") for name in ("broken", "whole")
    )
    assert all(
        torch.equal(broken.state_dict[key], whole.state_dict[key]) for key in whole.state_dict
    )


def test_cutmix_says_how_much_of_each_picture_is_its_own(monkeypatch):
    monkeypatch.syspath_prepend(RECIPE)
    from cifar10 import cutmix

    torch.manual_seed(0)
    own_values = torch.arange(1.0, 65.0).view(64, 1, 1, 1).expand(64, 3, 8, 8)
    mixed, own = cutmix(own_values, 0.5)

    assert torch.allclose((mixed == own_values).float().mean(dim=(1, 2, 3)), own)
    assert ((mixed == own_values) | (mixed == own_values.flip(0))).all()
    assert 16 < (own == 1).sum() < 48
