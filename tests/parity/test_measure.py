"""`edgevit.parity.compare` on tiny models, right ones and ones with a constant changed."""

import importlib
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from paths import DATA

from edgevit.core.model.precision import precision_of
from edgevit.core.runtime.registry import get_backend
from edgevit.errors import InputError
from edgevit.evaluate import DataSet
from edgevit.parity import compare, markdown_card
from edgevit.parity.limits import coarser
from edgevit.zoo import find_model

CHAIN = DATA / "tiny_chain.onnx"
BOTH = ["onnxruntime", "openvino"]
CELLS = 8 * np.stack(np.mgrid[:4, :4][::-1], axis=-1).reshape(-1, 2).astype(np.float32)


@pytest.fixture(autouse=True)
def _runtimes():
    for name in BOTH:
        pytest.importorskip(name, reason=f"{name} is not installed")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(8)
    for number in range(6):
        pixels = generator.integers(0, 256, (4, 4, 3), np.uint8)
        pixels[:2, :2] = (0, 0, 255)  # something that is red
        large = cv2.resize(pixels, (32, 32), interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(folder / f"{number}.png"), large)
    return folder


@pytest.fixture
def changed(tmp_path):
    """Write a model with bytes of a constant changed."""

    def write(model, before, after):
        content = model.read_bytes()
        before, after = (np.asarray(array).tobytes() for array in (before, after))
        assert content.count(before) == 1
        assert len(before) == len(after)
        path = tmp_path / f"changed_{model.name}"
        path.write_bytes(content.replace(before, after))
        return path

    return write


@pytest.fixture
def numpy_runtime(monkeypatch):
    """A third party's backend, `numpy`, to break."""
    monkeypatch.syspath_prepend(DATA.parent / "package_with_entrypoint")
    get_backend.cache_clear()
    yield importlib.import_module("numpy_runtime")
    del sys.modules["numpy_runtime"]
    get_backend.cache_clear()


def test_one_model_is_compared_on_all_usable_backends(pictures):
    told = []
    report = compare(CHAIN, pictures, progress=lambda *step: told.append(step))
    (pair,) = report.pairs
    assert (report.is_parity, report.task, report.pictures) == (True, "classify", 6)
    assert {report.reference.backend, pair.side.backend} == set(BOTH)
    assert (pair.precision, pair.agreement, pair.problems) == ("fp32", 1, [])
    assert pair.tensors[0].values == 18
    assert told == [("images", done, 6) for done in range(1, 7)]


def test_a_data_set_brings_its_own_limit(pictures):
    report = compare(CHAIN, DataSet(pictures, limit=2), backends=BOTH)
    assert (report.pictures, report.data) == (2, str(pictures))


@pytest.mark.parametrize("name", ["tiny_anchors", "tiny_boxes", "tiny_logits", "tiny_classes"])
def test_detectors_and_segmenters_agree_on_both_backends(pictures, name):
    report = compare(DATA / f"{name}.onnx", pictures, backends=BOTH)
    assert report.is_parity
    assert report.pairs[0].agreement == 1
    found = report.pairs[0].decisions
    assert found.get("detections", 6) >= 6  # the red of each picture
    assert ("mask_iou_min" in found) == (name == "tiny_boxes")


def test_every_model_meets_every_backend_and_the_first_is_the_reference(pictures, changed):
    wrong = changed(CHAIN, np.float32(0.1), np.float32(0.2))
    report = compare([CHAIN, wrong], pictures, backends=BOTH, bisect=False)
    assert str(report.reference) == "tiny_chain.onnx on onnxruntime cpu"
    assert [str(pair.side) for pair in report.pairs] == [
        "tiny_chain.onnx on openvino cpu",
        "changed_tiny_chain.onnx on onnxruntime cpu",
        "changed_tiny_chain.onnx on openvino cpu",
    ]
    assert [pair.is_parity for pair in report.pairs] == [True, False, False]
    assert report.pairs[1].tensors[0].cosine == pytest.approx(1)  # all logits are doubled
    assert report.pairs[1].agreement == 1
    assert report.pairs[1].divergence is None


def test_the_changed_node_is_named(pictures, changed):
    wrong = changed(CHAIN, np.float32(0.1), np.float32(0.2))
    report = compare([CHAIN, wrong], pictures, backends=["onnxruntime"], limit=2)
    (pair,) = report.pairs
    assert (pair.divergence.node, pair.divergence.operator) == ("node_scaled", "Mul")
    assert pair.divergence.inputs == {"mixed": 0}
    assert pair.divergence.error > 1
    assert "'logits': error of" in pair.problems[0]
    assert Path(pair.worst_picture).parent == pictures


@pytest.mark.parametrize(
    ("operator", "wrong", "node"),
    [
        ("Relu", lambda x: np.maximum(x, 0.5), "node_rectified"),
        ("Reshape", lambda x, shape: x.reshape(shape)[:, ::-1].copy(), "node_logits"),
        ("Relu", lambda x: np.where(x > 0, x, np.nan), "node_rectified"),
    ],
    ids=["floor", "order", "nan"],
)
def test_a_wrong_backend_is_found_out(pictures, numpy_runtime, monkeypatch, operator, wrong, node):
    sides = ["onnxruntime", "numpy"]
    assert compare(CHAIN, pictures, backends=sides).is_parity
    monkeypatch.setitem(numpy_runtime.OPERATORS, operator, wrong)
    (pair,) = compare(CHAIN, pictures, backends=sides).pairs
    assert pair.divergence.node == node
    assert pair.side.backend == "numpy"


def test_pictures_without_an_answer_do_not_agree(pictures, numpy_runtime, monkeypatch):
    monkeypatch.setitem(numpy_runtime.OPERATORS, "Relu", lambda x: x + np.nan)
    report = compare(CHAIN, pictures, backends=["onnxruntime", "numpy"])
    (pair,) = report.pairs
    assert (pair.agreement, len(pair.failures)) == (0, 6)
    assert "18 values are NaN or infinite on one side only" in pair.problems[0]
    assert "6 images have no answer" in pair.problems[2]
    assert pair.divergence.error is None
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_backend_that_cannot_show_inner_tensors_is_not_bisected(
    pictures, numpy_runtime, monkeypatch
):
    class Untyped(numpy_runtime.NumpySession):
        def __init__(self, content):
            super().__init__(content)
            if len(self.outputs) > 1:
                raise ValueError("one output only")

    monkeypatch.setattr(numpy_runtime.NumpyBackend, "session", Untyped)
    monkeypatch.setitem(numpy_runtime.OPERATORS, "Relu", np.abs)
    (pair,) = compare(CHAIN, pictures, backends=["onnxruntime", "numpy"]).pairs
    assert pair.divergence is None
    assert "could not be cut open" in pair.notes[0]
    assert "one output only" in pair.notes[0]


def test_what_only_fusing_makes_is_said_to_be_so(pictures, numpy_runtime, monkeypatch):
    """A runtime that is wrong only while nobody looks inside."""
    run = numpy_runtime.NumpySession.run

    def wrong_when_fused(self, feeds):
        outputs = run(self, feeds)
        return outputs if len(outputs) > 1 else {k: v + 1 for k, v in outputs.items()}

    monkeypatch.setattr(numpy_runtime.NumpySession, "run", wrong_when_fused)
    (pair,) = compare(CHAIN, pictures, backends=["onnxruntime", "numpy"]).pairs
    assert pair.divergence is None
    assert "the difference goes when" in pair.notes[0]


def test_boxes_that_moved_and_masks_that_changed_are_counted(pictures, changed):
    cells = np.concatenate([CELLS, CELLS + 8], axis=1)
    moved = changed(DATA / "tiny_boxes.onnx", cells, cells + np.float32(1))
    (pair,) = compare([DATA / "tiny_boxes.onnx", moved], pictures, backends=["openvino"]).pairs
    assert pair.agreement == 0
    assert pair.decisions["matched"] > 0
    assert pair.decisions["box_iou_min"] == pytest.approx(49 / 79)
    assert pair.divergence.output == "boxes"


def test_limits_are_the_callers_or_the_precisions(pictures, changed):
    wrong = changed(CHAIN, np.float32(0.1), np.float32(0.10005))
    models = {"models": [CHAIN, wrong], "data": pictures, "backends": ["onnxruntime"]}
    assert compare(**models).is_parity
    assert not compare(**models, tolerance=1e-5, bisect=False).is_parity
    assert compare(**models, tolerance=0.1, min_agreement=0.5).pairs[0].limits.min_iou == 0.95


def test_a_pairs_precision_is_the_coarser_one():
    assert precision_of(CHAIN) == "fp32"
    assert precision_of(find_model("cas_vit_xs_cifar10")) == "fp16-weights"
    assert coarser(("fp16-weights", "fp32"), is_one_file=False) == "fp16-weights"
    assert coarser(("fp16-weights", "fp16-weights"), is_one_file=True) == "fp32"
    assert coarser(("fp32", "int8"), is_one_file=False) == "int8"


@pytest.mark.torch
@pytest.mark.parametrize(("kind", "precision"), [("half", "fp16"), ("quantized", "int8")])
def test_precision_is_read_off_the_graph(tmp_path, kind, precision):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    value = numpy_helper.from_array(np.ones(1, np.float16), "one")
    nodes = {
        "half": helper.make_node("Mul", ["x", "one"], ["y"]),
        "quantized": helper.make_node("QuantizeLinear", ["x", "one"], ["y"]),
    }
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1])
    graph = helper.make_graph([nodes[kind]], kind, [x], [], [value])
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    assert precision_of(tmp_path / "model.onnx") == precision


@pytest.mark.parametrize(
    ("models", "backends", "message"),
    [
        ([CHAIN], ["openvino"], "two sides or more"),
        ([CHAIN, CHAIN], ["openvino"], "two sides or more"),
        ([CHAIN], [], "two sides or more"),
        ([CHAIN, DATA / "tiny_boxes.onnx"], None, "their task differ"),
        ([DATA / "tiny_logits.onnx", DATA / "tiny_classes.onnx"], None, "their head differ"),
        ([DATA / "tiny_anchors.onnx", DATA / "tiny_boxes.onnx"], None, "their head differ"),
    ],
    ids=["one", "twice", "none", "task", "map", "boxes"],
)
def test_what_cannot_be_compared_is_refused(pictures, models, backends, message):
    with pytest.raises(InputError, match=message):
        compare(models, pictures, backends=backends)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b'"red"', b'"ros"', "their class names differ, .*'red'.* and .*'ros'"),
        (b'"bicubic"', b'"lanczos"', "their preprocessing differ"),
    ],
    ids=["classes", "preprocessing"],
)
def test_models_that_are_asked_otherwise_are_refused(pictures, changed, before, after, message):
    other = changed(CHAIN, np.frombuffer(before, np.uint8), np.frombuffer(after, np.uint8))
    with pytest.raises(InputError, match=message):
        compare([CHAIN, other], pictures, backends=["onnxruntime"])


def test_a_card_has_the_verdict_the_tables_and_the_machine(pictures, changed):
    wrong = changed(CHAIN, np.float32(0.1), np.float32(0.2))
    card = markdown_card(compare([CHAIN, wrong], pictures, backends=["onnxruntime"]))
    assert card.startswith("# Parity of tiny_chain: no\n")
    assert "## changed_tiny_chain.onnx on onnxruntime cpu, fp32: no parity" in card
    assert "| logits | " in card
    assert "- the first node that diverges: Mul 'node_scaled'" in card
    assert "onnxruntime 1." in card.splitlines()[-1]
    classes = markdown_card(compare(DATA / "tiny_classes.onnx", pictures, backends=BOTH))
    assert "| red | " in classes


@pytest.mark.parametrize(
    "name",
    [
        "cas_vit_xs_cifar10",
        pytest.param("cas_vit_xs_retinanet_cards", marks=pytest.mark.slow),
        pytest.param("cas_vit_xs_semantic_fpn_camvid", marks=pytest.mark.slow),
    ],
)
def test_the_bundled_models_agree_on_photographs(photos, name):
    report = compare(name, photos, backends=BOTH, limit=3)
    assert report.is_parity
    assert report.pairs[0].precision == "fp32"
