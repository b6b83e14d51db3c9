"""The GPU bench: its arguments, order of measurement, tables and files, without timm or a GPU."""

import json
import sys

import pytest
from paths import EXAMPLES

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

pytestmark = pytest.mark.torch


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES / "benchmarks")
    yield __import__("bench_gpu")
    del sys.modules["bench_gpu"]


@pytest.fixture
def rows(bench):
    return [
        bench.Row("resnet50", "timm", "fp16", 64, 25, 40.0),
        bench.Row("litv2_s", "deploy", "fp16", 64, 28, 32.0),
        bench.Row("litv2_s", "deploy", "fp32", 1, 28, 5.0),
    ]


def test_table_is_sorted_by_speed_and_divides_by_the_reference(bench, rows):
    lines = bench.table(rows, "resnet50").splitlines()
    assert lines[0] == "### fp16, batch 64"
    assert lines[4:6] == [
        "| litv2_s | deploy | 32.00 | 2000 | 1.25 |",
        "| resnet50 | timm | 40.00 | 1600 | 1.00 |",
    ]
    assert lines[-1] == "| litv2_s | deploy | 5.00 | 200 | - |"  # no reference at this batch


def test_claims_are_of_pairs_that_were_measured_together(bench, rows):
    (claim,) = bench.claims(rows)
    assert (claim["model"], claim["peer"], claim["batch"]) == ("litv2_s", "resnet50", 64)
    assert (claim["ratio"], claim["measured"]) == (1.15, 1.25)
    assert "| litv2_s over resnet50, fp16, batch 64 | 1.15 (LITv2" in bench.claim_table([claim])


def test_models_take_turns_and_the_first_round_does_not_count(bench):
    calls, ticks = [], iter([9, 9, 1, 2, 3, 4, 5, 6])
    runs = [lambda: calls.append("a"), lambda: calls.append("b")]

    def clock(work):
        work()
        return next(ticks)

    assert bench.medians_ms(runs, clock, rounds=3, repeats=2) == [1500, 2000]
    assert calls == list("aaabbb" * 4)


def test_by_default_everything_is_measured_on_the_gpu(bench):
    arguments = bench.parsed([])
    assert arguments.device == "cuda:0"
    assert (arguments.batch, arguments.precision) == ([1, 64], ["fp32", "fp16"])
    assert {claim.model for claim in bench.CLAIMS} <= set(arguments.models)
    assert {claim.peer for claim in bench.CLAIMS} <= set(arguments.models)


def test_model_that_needs_timm_says_so(bench, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SystemExit, match=r"resnet50.*timm, which has other models"):
        bench.build("resnet50", 224)


def test_result_is_printed_and_kept_with_its_facts(bench, monkeypatch, tmp_path, capsys):
    argv = "bench_gpu.py --device cpu --batch 1 --models cas_vit_xs --size 64 --rounds 1"
    argv += f" --repeats 1 --precision fp32 --output {tmp_path}"
    monkeypatch.setattr(sys, "argv", argv.split())
    bench.main()
    assert "| cas_vit_xs | deploy |" in capsys.readouterr().out
    (kept,) = tmp_path.glob("bench_gpu_*.json")
    document = json.loads(kept.read_text(encoding="utf-8"))
    assert document["facts"]["packages"]["torch"]
    assert document["facts"]["command"].endswith(argv.removeprefix("bench_gpu.py"))
    (row,) = document["rows"]
    assert row["images_per_s"] == pytest.approx(1e3 / row["batch_ms"])
    assert kept.with_suffix(".md").read_text(encoding="utf-8").count("###") == 1
