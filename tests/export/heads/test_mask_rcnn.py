"""What leaves the exporter for Mask R-CNN: the module's detections and masks on every runtime."""

from importlib.util import find_spec

import numpy as np
import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")


import golden  # noqa: E402
from detections import matched_errors  # noqa: E402
from value_types import value_types  # noqa: E402

import edgevit  # noqa: E402
from edgevit import Geometry, InputSpec, ModelSpec  # noqa: E402
from edgevit.benchmark import Candidate, compare  # noqa: E402
from edgevit.convert.fp16.convert import convert_to_half  # noqa: E402
from edgevit.convert.metadata import embed_multiply_adds, embed_spec  # noqa: E402
from edgevit.doctor import self_test  # noqa: E402
from edgevit.errors import ExportError  # noqa: E402
from edgevit.export import export_model  # noqa: E402
from edgevit.export.deploy import deploy  # noqa: E402
from edgevit.export.heads import KINDS  # noqa: E402
from edgevit.export.operations import multiply_adds  # noqa: E402
from edgevit.export.trace import graph_from_module  # noqa: E402
from edgevit.export.verify import answer_and_difference  # noqa: E402
from edgevit.models import mask_rcnn  # noqa: E402
from edgevit.models.cas_vit import CASViTConfig, CASViTPyramid  # noqa: E402
from edgevit.models.mask_rcnn import MaskRCNNConfig  # noqa: E402

GOLDEN = ["cas_vit_xs_mask_rcnn", "lightvit_tiny_mask_rcnn", "litv2_s_mask_rcnn"]
OPTIONS = {"onnxruntime": {}, "openvino": {"cache": False}}
BACKENDS = [name for name in OPTIONS if find_spec(name)]
ARRAYS = golden.arrays("dense")
KIND = KINDS["mask_rcnn"]

SMALLEST = CASViTConfig(depths=(1, 1, 1, 1), dims=(8, 8, 16, 16))
FEW = MaskRCNNConfig(candidates=20, proposals=30, max_detections=10, score_threshold=0.26)
SIZE = (64, 96)
PICTURE = (50, 70)  # the part of it that is no padding
GEOMETRY = Geometry(PICTURE, (0, 0, 70, 50), SIZE, (0, 0, 70, 50))
BATCH = np.random.default_rng(0).standard_normal((1, 3, *SIZE), np.float32)


class Small:
    """A detector of few channels, and its graph."""

    def __init__(self, path):
        torch.manual_seed(0)
        backbone = CASViTPyramid(SMALLEST)
        self.model = mask_rcnn(backbone, 3, channels=8, box_channels=16, stacked=1, config=FEW)
        for name, parameter in self.model.named_parameters():
            if name.endswith(("fc_cls.weight", "fc_reg.weight", "rpn_reg.weight")):
                torch.nn.init.normal_(parameter, 0, 0.2)
        self.model.eval().requires_grad_(False)
        self.ending = KIND.ending(self.model, SIZE, None)
        self.deployed = self.ending.attach(deploy(self.model, SIZE)).eval()
        self.graph = graph_from_module(
            self.deployed, SIZE, outputs=self.ending.outputs, settings=self.ending.settings
        )
        self.path, names, head = path, ("a", "b", "c"), self.ending.head
        size = InputSpec(SIZE, resize="letterbox", crop_pct=1.0)
        self.spec = ModelSpec("small", "cas_vit", "small", "detect", size, names, head)
        embed_spec(self.graph, self.spec)
        embed_multiply_adds(self.graph, self.ending.count(self.model, SIZE))
        onnx.save(self.graph, path)

    def expected(self, size):
        """What the module detects: boxes, scores, class ids, and the masks' probabilities."""
        found = self.model(torch.from_numpy(BATCH), torch.tensor([size]))
        parts = [part[0][found.scores[0] > 0].numpy() for part in found]
        return parts[:3], 1 / (1 + np.exp(-parts[3]))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Small(tmp_path_factory.mktemp("small") / "small.onnx")


@pytest.fixture(params=BACKENDS)
def predictor(request, small):
    options = OPTIONS[request.param]
    with edgevit.Predictor(small.path, backend=request.param, options=options) as predictor:
        yield predictor


def as_arrays(found):
    return found.boxes, found.scores, found.class_ids


def assert_same(found, expected):
    """As sets, and each the other's only partner."""
    overlaps, score_errors, _ = matched_errors(found, expected)
    assert len(found[0]) == len(expected[0])
    assert overlaps.min() > 0.99
    assert score_errors.max() < 1e-3


def test_in_half_precision_everything_about_boxes_stays_in_float32(small, tmp_path):
    report = convert_to_half(small.path, tmp_path / "half.onnx")
    model = onnx.load(report.path)
    types, found = value_types(model), {}
    for node in model.graph.node:
        found.setdefault(node.op_type, set()).add(types[node.output[0]])
    float32, float16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    assert [found[kind] for kind in ("RoiAlign", "Exp", "Gemm")] == [{float32}] * 3
    assert found["TopK"] == {float32, onnx.TensorProto.INT64}
    assert found["Conv"] == {float16}

    answers = []
    for path in (report.path, small.path):
        with edgevit.Predictor(path, backend="onnxruntime") as predictor:
            outputs = predictor.infer(BATCH)
            answers.append([outputs[name][0] for name in ("boxes", "scores", "class_ids")])
    overlaps, score_errors, _ = matched_errors(*answers)
    assert overlaps.min() > 0.9
    assert score_errors.max() < 0.01


@pytest.mark.parametrize("size", [SIZE, PICTURE], ids=["whole", "padded"])
def test_a_file_answers_the_modules_detections_and_masks(small, predictor, size):
    geometry = Geometry(size, (0, 0, *size[::-1]), SIZE, (0, 0, *size[::-1]))
    outputs = predictor.infer(BATCH, image_size=geometry.filled_size)
    expected, masks = small.expected(size)
    assert 2 < len(masks) <= 10
    count = np.count_nonzero(outputs["scores"])
    found = [outputs[name][0, :count] for name in ("boxes", "scores", "class_ids")]
    assert_same(found, expected)
    assert outputs["masks"].shape == (1, count, 28, 28)
    assert np.abs(outputs["masks"][0] - masks).max() < 1e-4


def test_fewer_are_found_above_a_higher_threshold(small, predictor):
    expected, _ = small.expected(PICTURE)
    threshold = float(np.sort(expected[1])[len(expected[1]) // 2])
    outputs = predictor.infer(BATCH, image_size=GEOMETRY.filled_size, score_threshold=threshold)
    found = predictor.postprocess(outputs, GEOMETRY, score_threshold=threshold, masks="bool")
    assert_same(as_arrays(found), [part[expected[1] > threshold] for part in expected])
    assert found.masks.shape == (len(found), *PICTURE)


def test_nothing_found_is_no_boxes_and_no_masks(predictor):
    picture = np.zeros((*PICTURE, 3), np.uint8)
    found = predictor.detect(picture, score_threshold=1.0, masks="bool")
    assert found.boxes.shape == (0, 4)
    assert found.masks.shape == (0, *PICTURE)


@pytest.mark.parametrize("size", [(1, 1), (1, 96)], ids=str)
def test_the_smallest_pictures_are_answered(predictor, size):
    geometry = Geometry(size, (0, 0, *size[::-1]), SIZE, (0, 0, *size[::-1]))
    outputs = predictor.infer(BATCH, image_size=geometry.filled_size, score_threshold=0.0)
    assert all(np.isfinite(values).all() for values in outputs.values())


def test_masks_are_left_out_where_nobody_wants_them(predictor):
    outputs = predictor.infer(BATCH, max_masks=0)
    assert outputs["masks"].shape == (1, 0, 28, 28)
    assert np.array_equal(outputs["boxes"], predictor.infer(BATCH)["boxes"])


def test_the_predictor_tells_the_graph_what_is_wanted(small, predictor):
    picture = np.random.default_rng(1).integers(0, 256, (*PICTURE, 3), np.uint8)
    batch, geometry = predictor.preprocess(picture)
    outputs = predictor.infer(batch, image_size=geometry.filled_size, score_threshold=0.0)
    expected = predictor.postprocess(outputs, geometry, score_threshold=0.0, masks="rle")
    found = predictor.detect(picture, score_threshold=0.0, masks="rle")
    assert len(found) == len(expected) > 0
    assert found.masks == expected.masks
    assert_same(as_arrays(predictor.detect(picture, 0.0)), as_arrays(expected))


def test_the_deploy_form_is_the_module(small):
    settings = map(torch.from_numpy, small.ending.settings.values())
    outputs = small.deployed(torch.from_numpy(BATCH), *settings)
    answer = small.ending.reference(small.model)(torch.from_numpy(BATCH))
    named = {name: part.numpy() for name, part in zip(small.ending.outputs, outputs, strict=True)}
    comparisons = list(small.ending.compare(answer, named))
    assert all(comparison.difference < 1e-4 for comparison in comparisons)
    assert [len(comparison.graph) for comparison in comparisons] == [10, 1, 10, 10]


def test_a_graph_has_standard_operators_only(small):
    assert {operator.domain for operator in small.graph.opset_import} == {""}
    assert {node.domain for node in small.graph.graph.node} == {""}
    names = [value.name for value in small.graph.graph.input]
    assert names == ["image", "image_size", "score_threshold", "max_masks"]
    onnx.checker.check_model(small.graph)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("roi_head.bbox_head.fc_cls.bias", "in a score"),
        ("roi_head.mask_head.conv_logits.bias", "in a mask"),
    ],
)
def test_a_graph_of_other_weights_is_refused(small, weight, message):
    parameter = small.model.get_parameter(weight)
    kept = parameter.clone()
    parameter += torch.linspace(0.5, 1, len(parameter))
    with pytest.raises(ExportError, match=message):
        answer_and_difference(small.graph, small.model, small.ending, BATCH)
    parameter.copy_(kept)


def test_a_graph_that_finds_other_boxes_is_refused(small):
    answer = small.ending.reference(small.model)(torch.from_numpy(BATCH))
    parts = [part.numpy() for part in answer]
    outputs = dict(zip(small.ending.outputs, parts, strict=True))
    outputs["masks"] = 1 / (1 + np.exp(-outputs["masks"]))
    assert max(pair.difference for pair in small.ending.compare(answer, outputs)) == 0
    outputs["boxes"] = outputs["boxes"] + 5
    different = [pair for pair in small.ending.compare(answer, outputs) if pair.difference > 0]
    assert [pair.what for pair in different] == ["its choice of boxes"]


def test_widths_and_classes_are_read_from_weights(small):
    weights = small.model.state_dict()
    assert KIND.num_classes(weights) == 3
    assert KIND.widths(weights) == {"channels": 8, "box_channels": 16, "stacked": 1}
    assert KIND.num_classes({}) is None
    assert KIND.widths({}) == {}


def test_arithmetic_is_counted_without_masks(small):
    """Boxes are the backbone, the neck, 15 outputs of every anchor's place, and 30 proposals."""
    model, image = small.model, torch.empty(1, 3, *SIZE)
    places = sum(-(-64 // stride) * -(-96 // stride) for stride in (4, 8, 16, 32, 64))
    proposals = 30 * (8 * 49 * 16 + 16 * 16 + 16 * (4 + 12))
    neck = multiply_adds(torch.nn.Sequential(model.backbone, model.neck), image)
    anchors = places * (8 * 8 * 9 + 8 * 15)
    assert small.ending.count(model, SIZE) == neck + anchors + proposals


def test_a_benchmark_runs_it_without_masks(small):
    candidate = Candidate(str(small.path), backend="onnxruntime", threads=1)
    picture = np.zeros((*PICTURE, 3), np.uint8)
    (report,) = compare([candidate], picture, runs=1, warmup=1, starts=0).reports
    assert report.arithmetic.gflop == 2 * small.ending.count(small.model, SIZE) / 1e9


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.slow) for name in GOLDEN]
)
def official(request, tmp_path_factory):
    """An official model's name, and what the exporter made of its checkpoint."""
    folder, case = tmp_path_factory.mktemp("official"), golden.DENSE[request.param]
    weights = golden.state_dict(golden.dense_rows(request.param))
    torch.save({"state_dict": weights}, folder / "official.pth")
    report = export_model(
        request.param,
        folder / "official.onnx",
        checkpoint=folder / "official.pth",
        input_size=tuple(case["input_shape"][2:]),
    )
    return request.param, report


@pytest.mark.parametrize("backend", BACKENDS)
def test_files_give_the_official_detections_and_masks(official, backend):
    name, report = official
    case = golden.DENSE[name]
    (height, width), batch = case["image_size"], golden.padded_image(case).float().numpy()
    box = (0, 0, width, height)
    geometry = Geometry((height, width), box, tuple(case["input_shape"][2:]), box)
    expected = [ARRAYS[f"{name}/det_{part}"] for part in ("bboxes", "scores", "labels")]
    packed = ARRAYS[f"{name}/pasted_mask_top3_packed"]
    pasted = np.unpackbits(packed, axis=1, count=height * width).reshape(-1, height, width) > 0
    with edgevit.Predictor(report.path, backend=backend, options=OPTIONS[backend]) as predictor:
        outputs = predictor.infer(batch, image_size=geometry.filled_size)
        found = predictor.postprocess(outputs, geometry, masks="bool")
        threshold = float(np.median(expected[1]))
        few = predictor.infer(batch, image_size=geometry.filled_size, score_threshold=threshold)
        fewer = predictor.postprocess(few, geometry, score_threshold=threshold)
    assert_same(as_arrays(found), expected)
    assert_same(as_arrays(fewer), [part[expected[1] > threshold] for part in expected])
    shared = (found.masks[:3] & pasted).sum(axis=(1, 2))
    assert (shared / (found.masks[:3] | pasted).sum(axis=(1, 2)) > 0.99).all()


def test_devices_can_prove_what_they_compute(official):
    _, report = official
    results = self_test(report.path)
    assert {result.backend for result in results} >= set(BACKENDS)
    assert [result.problem for result in results if result.backend in BACKENDS] == [None] * len(
        BACKENDS
    )
