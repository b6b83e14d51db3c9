import numpy as np
import pytest

import edgevit
from edgevit.backend import TensorInfo
from edgevit.benchmark import MATMUL, MATMUL_SIDE, benchmark
from edgevit.core.registry import get_backend
from edgevit.errors import InputError, LoadError
from edgevit.testing import FakeBackend

PICTURE = np.full((20, 30, 3), 90, np.uint8)
SQUARE = (MATMUL_SIDE, MATMUL_SIDE)


class Refusing(FakeBackend):
    """Knows no operator."""

    def load(self, model, *, device, options):
        raise LoadError("the operator MatMul is unknown")


@pytest.fixture
def predictor(tiny):
    with edgevit.Predictor(tiny, backend="onnxruntime", threads=1) as loaded:
        yield loaded


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_the_matrix_product_is_one(name):
    pytest.importorskip(name, reason=f"{name} is not installed")
    session = get_backend(name).load(MATMUL, device="cpu", options={})
    rows = np.eye(*SQUARE, dtype=np.float32)
    assert np.array_equal(session.run({"rows": rows})["product"], np.full(SQUARE, 1 / MATMUL_SIDE))


def test_the_share_is_the_models_rate_over_the_matrix_products(predictor):
    arithmetic = benchmark(predictor, PICTURE, runs=2, warmup=1).arithmetic
    assert arithmetic.gflop == 18 / 1e9
    assert arithmetic.share == arithmetic.gflop_per_s / arithmetic.matrix_gflop_per_s > 0


def test_the_matrix_product_gets_the_models_device_and_threads(predictor, monkeypatch):
    rows, product = (TensorInfo(name, np.dtype("f4"), SQUARE) for name in ("rows", "product"))
    backend = FakeBackend([rows], [product])
    monkeypatch.setattr("edgevit.benchmark.get_backend", {"onnxruntime": backend}.get)
    benchmark(predictor, PICTURE, runs=3, warmup=0, threads=1)
    assert backend.loads == [(MATMUL, "cpu", {"threads": 1})]
    assert backend.sessions[0].runs == 2 * 3
    assert backend.sessions[0].is_closed


def test_a_runtime_without_matrix_product_is_measured_all_the_same(predictor, monkeypatch):
    monkeypatch.setattr("edgevit.benchmark.get_backend", lambda _: Refusing([], []))
    arithmetic = benchmark(predictor, PICTURE, runs=1, warmup=0).arithmetic
    assert arithmetic.gflop_per_s > 0
    assert (arithmetic.matrix_gflop_per_s, arithmetic.share) == (None, None)


def test_a_file_without_a_count_still_shows_the_machines_rate(tiny):
    with edgevit.Predictor(tiny.with_name("tiny_dynamic.onnx"), backend="onnxruntime") as predictor:
        arithmetic = benchmark(predictor, PICTURE, runs=1, warmup=0).arithmetic
    assert (arithmetic.gflop, arithmetic.gflop_per_s, arithmetic.share) == (None, None, None)
    assert arithmetic.matrix_gflop_per_s > 0


def test_no_runs_are_refused(predictor):
    with pytest.raises(InputError, match="runs must be from 1 up, not 0"):
        benchmark(predictor, PICTURE, runs=0)
