"""What leaves the exporter for detectors and segmenters: the module's numbers on every runtime."""

from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
from click.testing import CliRunner

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")


import golden  # noqa: E402
from detections import matched_errors  # noqa: E402

import edgevit  # noqa: E402
from edgevit.cli import main  # noqa: E402
from edgevit.core.image.geometry import Geometry  # noqa: E402
from edgevit.errors import ExportError  # noqa: E402
from edgevit.export import export_model  # noqa: E402
from edgevit.models import create_pyramid, retinanet, semantic_fpn  # noqa: E402

OPTIONS = {"onnxruntime": {}, "openvino": {"cache": False}}
BACKENDS = [name for name in OPTIONS if find_spec(name)]
SLOW = pytest.mark.slow
ARRAYS = golden.arrays("dense")


def trained(model):
    """The model in eval mode with statistics that do something and clear winners."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.1, generator=generator)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5, generator=generator)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 4 and not name.startswith("backbone."):
            std = (2 / parameter[0].numel()) ** 0.5
            torch.nn.init.normal_(parameter, 0, std, generator=generator)
        if name.endswith("retina_cls.bias"):
            torch.nn.init.constant_(parameter, -1.0)  # scores above the threshold
    return model.eval()


SMALL = {
    "cas_vit_xs_retinanet": lambda: retinanet(
        create_pyramid("cas_vit_xs"), 6, channels=16, stacked=2
    ),
    "cas_vit_xs_semantic_fpn": lambda: semantic_fpn(
        create_pyramid("cas_vit_xs"), 5, channels=16, head_channels=8
    ),
}


@pytest.fixture(scope="module", params=SMALL)
def small(request, tmp_path_factory):
    """A small edge model, and what the exporter made of its weights alone."""
    folder = tmp_path_factory.mktemp("small")
    torch.manual_seed(0)
    model = trained(SMALL[request.param]())
    torch.save({"model": model.state_dict()}, folder / "small.pth")
    report = export_model(
        request.param,
        folder / "small.onnx",
        checkpoint=folder / "small.pth",
        input_size=(64, 96),
        score_threshold=0.01 if "retinanet" in request.param else None,
    )
    return model, report


def test_widths_and_classes_are_read_from_the_checkpoint(small):
    model, report = small
    assert len(report.spec.class_names) == {"detect": 6, "segment": 5}[report.spec.task]
    assert report.size_bytes < 1.1 * sum(4 * value.numel() for value in model.parameters())


def test_a_detector_can_have_its_own_score_threshold(small):
    selection = small[1].spec.head.get("selection")  # which a segmenter has not
    assert selection is None or (selection["score_threshold"], selection["iou_threshold"]) == (
        0.01,
        0.5,
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_device_can_prove_what_it_computes(small, backend):
    _, report = small
    vector = report.spec.test_vector
    with edgevit.Predictor(report.path, backend=backend, options=OPTIONS[backend]) as predictor:
        batch, _ = predictor.preprocess(vector.image)
        outputs = predictor.infer(batch)
    assert vector.outputs
    assert all(samples.error(outputs[name]) < 1e-4 for name, samples in vector.outputs.items())


@SLOW
def test_classes_of_smaller_cells_are_those_of_the_enlarged_logits(tmp_path):
    file, name = tmp_path / "classes.onnx", "cas_vit_xs_semantic_fpn"
    model = trained(SMALL[name]())
    torch.save({"model": model.state_dict()}, tmp_path / "small.pth")
    export_model(
        name,
        file,
        checkpoint=tmp_path / "small.pth",
        input_size=(64, 96),
        segment_output="classes/2",
    )
    batch = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = torch.nn.functional.interpolate(
            model(batch), size=(32, 48), mode="bilinear", align_corners=False
        ).argmax(dim=1)

    for backend in BACKENDS:
        with edgevit.Predictor(file, backend=backend) as predictor:
            classes = predictor.infer(batch.numpy())["classes"]
            assert predictor.spec.head["stride"] == 2
            assert np.mean(classes == expected.numpy()) > 0.999  # rounding moves ties


@cache
def golden_export(name, folder, form=None):
    """The official weights, exported at the official run's size."""
    weights = golden.state_dict(golden.dense_rows(name))
    torch.save({"meta": {}, "state_dict": weights}, folder / f"{name}.pth")
    return export_model(
        name,
        folder / f"{name}_{form}.onnx",
        checkpoint=folder / f"{name}.pth",
        input_size=(256, 320),
        segment_output=form,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("golden")


def outputs_of(report, backend, batch):
    with edgevit.Predictor(report.path, backend=backend, options=OPTIONS[backend]) as predictor:
        outputs = predictor.infer(np.asarray(batch, np.float32))
        # The official run's picture fills the input's upper left 250x310 pixels, zeros the rest.
        geometry = Geometry((250, 310), (0, 0, 310, 250), (256, 320), (0, 0, 310, 250))
        return outputs, predictor.postprocess(outputs, geometry)


RETINANETS = ["cas_vit_xs_retinanet", pytest.param("litv2_s_retinanet", marks=SLOW)]
SEMANTIC_FPNS = ["cas_vit_xs_semantic_fpn", pytest.param("litv2_s_semantic_fpn", marks=SLOW)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", RETINANETS)
def test_detections_are_the_official_ones(name, backend, folder):
    batch = golden.padded_image(golden.DENSE[name]).numpy()
    _, found = outputs_of(golden_export(name, folder), backend, batch)
    official = [ARRAYS[f"{name}/det_{part}"] for part in ("bboxes", "scores", "labels")]
    errors = matched_errors((found.boxes, found.scores, found.class_ids), official)
    assert len(found.scores) == len(official[0]) == 100
    assert errors[0].min() > 0.99
    assert errors[1].max() < 1e-3


@cache
def candidates_of(name):
    """Logits (anchors, classes) and deltas (anchors, 4) of the module in float64."""
    with torch.no_grad():
        levels = golden.dense_model(name)(golden.padded_image(golden.DENSE[name]))
    flat = [[level.permute(0, 2, 3, 1).flatten() for level in part] for part in levels]
    return torch.cat(flat[0]).reshape(-1, 80).numpy(), torch.cat(flat[1]).reshape(-1, 4).numpy()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", RETINANETS)
def test_candidates_have_the_modules_logits_and_deltas(name, backend, folder):
    batch = golden.padded_image(golden.DENSE[name]).numpy()
    outputs, _ = outputs_of(golden_export(name, folder), backend, batch)
    logits, deltas = candidates_of(name)
    scores, indices = (outputs[key][0].astype(np.float64) for key in ("scores", "indices"))
    anchors, classes = np.divmod(indices.astype(np.int64), 80)
    assert len(np.unique(indices)) == len(indices) == 5000
    assert np.abs(np.log(scores / (1 - scores)) - logits[anchors, classes]).max() < 5e-4
    assert np.abs(outputs["deltas"][0] - deltas[anchors]).max() < 5e-4


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SEMANTIC_FPNS)
def test_logits_and_classes_are_the_official_ones(name, backend, folder):
    case = golden.DENSE[name]["inputs"]["in256x320"]
    batch = golden.reference_input(case["input_shape"], case["input_seed"])
    logits = outputs_of(golden_export(name, folder, "logits"), backend, batch)[0]["logits"]
    rows, columns = (side // 9 for side in logits.shape[2:])
    expected = ARRAYS[f"{name}/in256x320.seg_logits"]
    assert np.abs(logits[..., ::rows, ::columns] - expected).max() < 5e-4

    with edgevit.Predictor(
        golden_export(name, folder, "logits").path, backend=backend, options=OPTIONS[backend]
    ) as predictor:
        whole = Geometry((256, 320), (0, 0, 320, 256), (256, 320), (0, 0, 320, 256))
        class_map = predictor.postprocess({"logits": logits}, whole).class_map
    official = ARRAYS[f"{name}/in256x320.argmax"]
    assert np.mean(class_map[::4, ::4] == official) >= 0.999


@SLOW
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SEMANTIC_FPNS)
def test_a_graph_that_ends_in_classes_gives_the_best_logits(name, backend, folder):
    case = golden.DENSE[name]["inputs"]["in256x320"]
    batch = golden.reference_input(case["input_shape"], case["input_seed"])
    logits = outputs_of(golden_export(name, folder, "logits"), backend, batch)[0]["logits"]
    classes = outputs_of(golden_export(name, folder, "classes"), backend, batch)[0]["classes"]
    assert np.mean(classes == logits.argmax(axis=1)) >= 0.999


def answer_of(report, backend):
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    with edgevit.Predictor(report.path, backend=backend, options=OPTIONS[backend]) as predictor:
        return predictor(picture)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("small", ["cas_vit_xs_retinanet"], indirect=True)
def test_objects_are_found_in_pixels_of_the_picture(small, backend):
    result = answer_of(small[1], backend)
    assert 0 < len(result.boxes) <= 100
    assert (result.boxes <= [120, 90, 120, 90]).all()
    assert result.boxes.max() > 96  # the input's width


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("small", ["cas_vit_xs_semantic_fpn"], indirect=True)
def test_every_pixel_of_the_picture_has_a_class(small, backend):
    result = answer_of(small[1], backend)
    assert result.class_map.shape == (90, 120)
    assert 1 < len(np.unique(result.class_map)) <= 5


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cas_vit_xs_retinanet", {"input_size": (300, 320)}, "multiples of 32.*nearest: 288x320"),
        ("cas_vit_xs_retinanet", {"segment_output": "logits"}, "is none of its own"),
        ("cas_vit_xs_retinanet", {"dynamic_batch": True}, "`dynamic_batch` is for classifiers"),
        ("cas_vit_xs_semantic_fpn", {"crop_pct": 0.9}, "`crop_pct` is for classifiers"),
        ("cas_vit_xs_semantic_fpn", {"segment_output": "masks"}, "one of classes, classes/2"),
        ("cas_vit_xs_semantic_fpn", {"score_threshold": 0.3}, "`score_threshold` is for detectors"),
    ],
    ids=["size", "form", "batch", "crop", "unknown form", "threshold"],
)
def test_arguments_that_do_not_fit_a_dense_model_are_refused(tmp_path, name, arguments, message):
    with pytest.raises(ExportError, match=message):
        export_model(name, tmp_path / "x.onnx", **arguments)


def test_the_command_names_the_task_of_a_model(tmp_path):
    arguments = ["cas_vit_s_retinanet", "--task", "segment", "--output", str(tmp_path / "x.onnx")]
    result = CliRunner().invoke(main, ["export", *arguments])
    assert result.exit_code == 1
    assert "is a model to detect, not to segment" in result.stderr


def test_a_backbone_of_another_size_is_named(tmp_path):
    weights = retinanet(create_pyramid("cas_vit_xs"), 3, channels=8, stacked=1).state_dict()
    torch.save(weights, tmp_path / "xs.pth")
    with pytest.raises(ExportError, match="cas_vit_xs_retinanet"):
        export_model("cas_vit_s_retinanet", tmp_path / "x.onnx", checkpoint=tmp_path / "xs.pth")
