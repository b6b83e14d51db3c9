"""ONNX Runtime on a GPU; run with `python -m pytest -m gpu -s` where one is at hand."""

from collections import deque
from time import perf_counter

import numpy as np
import pytest

import edgevit
from edgevit.testing import CHECKS

plugin = pytest.importorskip("edgevit_onnxruntime", reason="ONNX Runtime is not installed")

DEVICES = plugin.OnnxRuntimeBackend().devices()
TOLERANCE = 1e-2  # over the largest logit: TensorRT multiplies float32 with 10 bits (TF32)
RUNS = 300

pytestmark = pytest.mark.gpu


@pytest.fixture(params=["cuda:0", "tensorrt:0"])
def device(request):
    if request.param not in DEVICES:
        pytest.skip(f"ONNX Runtime has no device {request.param!r} here, only {DEVICES}")
    return request.param


@pytest.mark.parametrize("rule", CHECKS)
def test_gpu_session_keeps_the_rule(rule, device):
    CHECKS[rule](plugin.OnnxRuntimeBackend(), device)


@pytest.mark.parametrize("cuda_graph", [None, False])
@pytest.mark.parametrize(
    "name", ["cas_vit_xs_cifar10", "cas_vit_xs_retinanet_cards", "cas_vit_xs_semantic_fpn_camvid"]
)
def test_bundled_models_compute_what_the_exporter_computed(name, cuda_graph, device):
    options = {} if cuda_graph is None else {"cuda_graph": cuda_graph}
    with edgevit.Predictor(
        name, backend="onnxruntime", device=device, options=options, preprocess="exact"
    ) as predictor:
        vector = predictor.spec.test_vector
        batch, _ = predictor.preprocess(vector.image)
        for _ in range(8):  # a graph is captured on the third run in each place
            outputs = predictor.infer(batch, score_threshold=0.0)
            for output, samples in vector.outputs.items():
                assert difference(samples, outputs[output]) <= TOLERANCE


def test_map_keeps_the_gpu_busy(device, capsys):
    """Prints pictures a second of the session's own loop and of `map`; asserts no time."""
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    with edgevit.Predictor(backend="onnxruntime", device=device) as predictor:
        session, feeds = predictor.session, predictor.feeds(*predictor.preprocess(picture))
        looped = [rate(lambda: loop(session, feeds)) for _ in range(3)]
        answers = []
        mapped = [rate(lambda: answers.extend(predictor.map([picture] * RUNS))) for _ in range(3)]
    assert {answer.class_names[0] for answer in answers} == {answers[0].class_names[0]}
    assert len(answers) == 3 * RUNS
    with capsys.disabled():
        print(f"\n{device}: loop {max(looped):.0f}/s, map {max(mapped):.0f}/s")


def difference(samples, output):
    """Largest error over the largest value; of class ids and indices, the share that differ."""
    if output.dtype.kind in "iu":
        return samples.changed(output)
    return samples.error(output) / max(np.abs(output).max(), 1)


def loop(session, feeds):
    waiting = deque()
    for _ in range(RUNS):
        waiting.append(session.submit(feeds))
        if len(waiting) == session.max_in_flight:
            waiting.popleft().result()
    while waiting:
        waiting.popleft().result()


def rate(work):
    started = perf_counter()
    work()
    return RUNS / (perf_counter() - started)
