"""The TensorRT backend on a real GPU: `pytest -m gpu tests/backends/test_tensorrt_gpu.py`."""

from pathlib import Path

import numpy as np
import pytest

import edgevit
from edgevit.core.runtime.registry import choose_backend
from edgevit.doctor import self_test
from edgevit.errors import BackendError
from edgevit.testing import CHECKS
from edgevit.testing.models import CONVOLUTION

pytestmark = pytest.mark.gpu

ASSETS = Path(edgevit.__file__).parent / "assets"
BUNDLED = sorted(path.name for path in ASSETS.glob("cas_vit_*.onnx"))


@pytest.fixture(scope="module")
def backend():
    try:
        return choose_backend("tensorrt")[1]
    except BackendError as exc:
        pytest.skip(f"no GPU with TensorRT: {exc}")


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(autouse=True)
def shared_cache(engines, monkeypatch):
    """Build each engine once for all tests."""
    monkeypatch.setenv("EDGEVIT_CACHE", str(engines))


@pytest.mark.parametrize("rule", CHECKS)
def test_backend_keeps_the_rule(rule, backend):
    CHECKS[rule](backend, backend.devices()[0])


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_model_computes_what_its_exporter_did(name, backend):
    (test,) = [test for test in self_test(ASSETS / name) if test.backend == "tensorrt"]
    assert test.problem is None
    assert test.output_error < 1e-3  # float32 without TF32


def test_graph_gives_the_answers_of_the_calls_it_stands_for(backend):
    feeds = CONVOLUTION.feeds()
    answers = []
    for cuda_graph in (True, False):
        options = {"cuda_graph": cuda_graph}
        session = backend.load(CONVOLUTION.path, device=backend.devices()[0], options=options)
        answers += [session.run(feeds)["features"].copy() for _ in range(4)]
        session.close()
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])
    np.testing.assert_allclose(answers[0], CONVOLUTION.answer(feeds)["features"], rtol=1e-3)


@pytest.mark.torch
def test_torch_tensor_on_the_gpu_is_read_where_it_is(backend):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    feeds = CONVOLUTION.feeds()
    session = backend.load(CONVOLUTION.path, device="cuda:0", options={})
    outputs = session.run({"image": torch.from_numpy(feeds["image"]).cuda()})
    np.testing.assert_allclose(
        outputs["features"], CONVOLUTION.answer(feeds)["features"], rtol=1e-3, atol=1e-3
    )
