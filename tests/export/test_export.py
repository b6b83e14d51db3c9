import argparse

import numpy as np
import pytest
from click.testing import CliRunner

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="PyTorch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")


import golden  # noqa: E402

import edgevit  # noqa: E402
from edgevit.cli import main  # noqa: E402
from edgevit.core.model.metadata import read_multiply_adds  # noqa: E402
from edgevit.doctor import self_test  # noqa: E402
from edgevit.errors import ExportError, ModelError  # noqa: E402
from edgevit.export import export as exporter  # noqa: E402
from edgevit.export import export_model  # noqa: E402
from edgevit.export.checkpoint.class_names import read_class_names  # noqa: E402
from edgevit.zoo import zoo_entry  # noqa: E402

BACKENDS = ["onnxruntime", "openvino"]


def official_checkpoint(path, variant, num_classes=1000):
    """A file as the official training writes it, Namespace and EMA weights included."""
    rows = golden.CAS_VIT[variant]["state_dict"]
    rows = [[key, [num_classes, *shape[1:]] if "head" in key else shape] for key, shape in rows]
    weights = golden.state_dict(rows)
    raw = {key: value * 0.9 for key, value in weights.items()}
    state = {"model": raw, "model_ema": weights, "epoch": "best-ema_224"}
    torch.save({**state, "args": argparse.Namespace(model=variant)}, path)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """CAS-ViT-XS with five classes at 32x32, exported from an official checkpoint."""
    folder = tmp_path_factory.mktemp("small")
    checkpoint = official_checkpoint(folder / "five.pth", "cas_vit_xs", 5)
    return export_model(
        "cas_vit_xs", folder / "five.onnx", checkpoint=checkpoint, input_size=(32, 32)
    )


SLOW = pytest.mark.slow


@pytest.fixture(
    scope="module",
    params=[
        "cas_vit_xs",
        pytest.param("cas_vit_s", marks=SLOW),
        pytest.param("cas_vit_m", marks=SLOW),
        pytest.param("cas_vit_t", marks=SLOW),
    ],
)
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    checkpoint = official_checkpoint(folder / "official.pth", request.param)
    return export_model(request.param, folder / "model.onnx", checkpoint=checkpoint)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_file_gives_the_official_logits(exported, backend):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    with edgevit.Predictor(exported.path, backend=backend) as predictor:
        assert golden.logits_error(predictor, "cas_vit", exported.spec.variant) < 1e-4


def test_the_file_describes_itself(small):
    with edgevit.Predictor(small.path) as predictor:
        spec = predictor.spec
    assert (spec.name, spec.family, spec.variant) == ("cas_vit_xs", "cas_vit", "cas_vit_xs")
    assert spec.input == edgevit.InputSpec((32, 32))
    assert spec.provenance.weights == "ema"
    assert len(spec.provenance.checkpoint_sha256) == 64
    assert spec.class_names == tuple(f"class {index}" for index in range(5))


def test_the_file_says_how_much_arithmetic_the_model_is(exported):
    entry = zoo_entry(exported.spec.variant)
    assert read_multiply_adds(exported.path) == exported.multiply_adds == entry.multiply_adds


def test_the_report_says_that_ema_weights_were_taken(small):
    assert any("EMA" in note for note in small.notes)


def test_the_raw_weights_can_be_chosen(small, tmp_path):
    checkpoint = small.path.with_name("five.pth")
    raw = export_model(
        "cas_vit_xs",
        tmp_path / "raw.onnx",
        checkpoint=checkpoint,
        weights="model",
        input_size=(32, 32),
    )
    assert raw.spec.provenance.weights == "model"
    ours, theirs = (report.spec.test_vector.outputs["logits"].values for report in (raw, small))
    assert not np.allclose(ours, theirs)


def test_a_dynamic_batch_gives_each_image_the_answer_it_gets_alone(small, tmp_path):
    checkpoint = small.path.with_name("five.pth")
    dynamic = export_model(
        "cas_vit_xs",
        tmp_path / "d.onnx",
        checkpoint=checkpoint,
        input_size=(32, 32),
        dynamic_batch=True,
    )
    batch = np.random.default_rng(1).standard_normal((5, 3, 32, 32), np.float32)
    with edgevit.Predictor(dynamic.path) as many, edgevit.Predictor(small.path) as one:
        together = many.infer(batch)["logits"]
        alone = [one.infer(image[None])["logits"][0] for image in batch]
    assert np.abs(together - np.stack(alone)).max() < 1e-4


def test_weights_in_half_precision_halve_the_file_and_hardly_move_the_answer(small, tmp_path):
    checkpoint = small.path.with_name("five.pth")
    half = export_model(
        "cas_vit_xs",
        tmp_path / "half.onnx",
        checkpoint=checkpoint,
        input_size=(32, 32),
        half_weights=True,
    )
    assert half.size_bytes < 0.6 * small.size_bytes
    ours, theirs = (report.spec.test_vector.outputs["logits"].values for report in (half, small))
    assert 0 < np.abs(ours - theirs).max() < 0.02
    assert any("half precision moved 'logits' by at most" in note for note in half.notes)


def test_the_command_exports_in_half_precision_and_says_what_that_moves(small, tmp_path):
    path, checkpoint = tmp_path / "half.onnx", small.path.with_name("five.pth")
    arguments = ["export", "cas_vit_xs", "--checkpoint", checkpoint, "--input-size", "32x32"]
    result = CliRunner().invoke(
        main, [*map(str, arguments), "--precision", "fp16", "--output", str(path)]
    )
    assert result.exit_code == 0, result.output
    assert "nodes compute in half precision" in result.output
    assert "half precision moved 'logits' by at most" in result.output
    assert [test.problem for test in self_test(path) if test.device] == [None] * len(BACKENDS)
    with edgevit.Predictor(path) as half, edgevit.Predictor(small.path) as full:
        assert half.spec.provenance.precision == "fp16"
        assert half.spec.provenance.checkpoint_sha256 == full.spec.provenance.checkpoint_sha256


@SLOW
@pytest.mark.parametrize(
    "name",
    [
        *("lightvit_tiny", "litv2_s", "cas_vit_xs_retinanet", "cas_vit_xs_semantic_fpn"),
        *("cas_vit_xs_mask_rcnn", "lightvit_tiny_mask_rcnn", "litv2_s_semantic_fpn"),
    ],
)
def test_every_kind_of_model_exports_in_half_precision(name, tmp_path):
    path = tmp_path / "half.onnx"
    report = export_model(name, path, precision="fp16")
    model = onnx.load(path)
    made = {node.output[0] for node in model.graph.node if node.op_type == "Cast"}
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    assert not [node for node in casts if node.input[0] in made]
    assert report.spec.test_vector.tolerance < 0.05
    assert [test.problem for test in self_test(path) if test.device] == [None] * len(BACKENDS)


def test_fresh_weights_are_called_noise(tmp_path):
    report = export_model(
        "cas_vit_xs",
        tmp_path / "x.onnx",
        num_classes=2,
        class_names=["no", "yes"],
        input_size=(32, 48),
    )
    assert any("freshly initialised" in note for note in report.notes)
    assert report.spec.class_names == ("no", "yes")
    assert report.spec.input.size == (32, 48)


def test_a_size_that_the_model_refuses_is_one_sentence(tmp_path):
    with pytest.raises(
        ExportError, match=r"^LITv2 takes heights .* multiples of 32, not 230x"
    ) as info:
        export_model("litv2_s", tmp_path / "x.onnx", num_classes=2, input_size=(230, 224))
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(("variant", "side"), [("cas_vit_xs", 224), ("litv2_b_384", 384)])
def test_the_default_input_size_is_the_official_evaluations(tmp_path, monkeypatch, variant, side):
    def refuse(module, size, **_):
        raise ExportError(f"asked for {size}")

    monkeypatch.setattr(exporter, "graph_from_module", refuse)
    with pytest.raises(ExportError, match=rf"asked for \({side}, {side}\)"):
        export_model(variant, tmp_path / "x.onnx", num_classes=2)


def test_a_large_input_is_stretched_as_officially():
    definition = exporter.find_definition("cas_vit_s")
    assert definition.evaluation((384, 384)).resize == "stretch"
    assert definition.evaluation((224, 224)).crop_pct == 0.875


def test_a_graph_that_differs_from_its_module_is_not_written(small, tmp_path, monkeypatch):
    graph = onnx.load(small.path)
    monkeypatch.setattr(exporter, "graph_from_module", lambda *_, **__: graph)
    with pytest.raises(ExportError, match="differs from the module by"):
        export_model("cas_vit_xs", tmp_path / "x.onnx", num_classes=5, input_size=(32, 32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "int4"}, "precision must be one of fp32, fp16"),
        ({"precision": "fp16", "half_weights": True}, "`half_weights` is for fp32 graphs"),
        ({"input_size": (0, 3)}, "input_size must be a"),
        ({"num_classes": 0}, "num_classes must be from 1 up"),
        ({"num_classes": 3, "class_names": ["a"]}, "1 class names were given for 3 classes"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_arguments_that_contradict_each_other_are_refused(tmp_path, arguments, message):
    with pytest.raises(ExportError, match=message):
        export_model("cas_vit_xs", tmp_path / "x.onnx", **arguments)


def test_the_checkpoints_class_count_wins_over_another(small, tmp_path):
    with pytest.raises(ExportError, match="has 5 classes, not 7"):
        export_model(
            "cas_vit_xs",
            tmp_path / "x.onnx",
            checkpoint=small.path.with_name("five.pth"),
            num_classes=7,
        )


def test_weights_of_another_variant_are_named(small, tmp_path):
    with pytest.raises(ExportError, match="cas_vit_xs"):
        export_model("cas_vit_s", tmp_path / "x.onnx", checkpoint=small.path.with_name("five.pth"))


def test_an_unknown_variant_is_refused_before_any_work(tmp_path):
    with pytest.raises(ModelError, match="no model variant 'resnet'"):
        export_model("resnet", tmp_path / "x.onnx")


def test_an_output_in_no_folder_is_refused_before_any_work(tmp_path):
    with pytest.raises(ExportError, match="does not exist"):
        export_model("cas_vit_xs", tmp_path / "no" / "x.onnx")


def test_an_output_that_is_a_folder_is_refused(tmp_path):
    with pytest.raises(ExportError, match="is a folder"):
        export_model("cas_vit_xs", tmp_path)


def test_weights_too_large_for_half_precision_are_named():
    import onnx_ir

    from edgevit.convert.half_weights import store_in_half_precision

    weight = onnx.numpy_helper.from_array(np.full(2048, 1e6, np.float32), "large")
    graph = onnx.helper.make_graph([], "g", [], [], [weight])
    with pytest.raises(ExportError, match="'large' holds 1e"):
        store_in_half_precision(onnx_ir.from_proto(onnx.helper.make_model(graph)))


def test_class_names_are_read_from_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("cat\ngröße\n\n", encoding="utf-8")
    assert read_class_names(path) == ("cat", "größe")


@pytest.mark.parametrize("text", ["", "\n\n", "cat\n\ndog\n"], ids=repr)
def test_a_names_file_with_gaps_is_refused(tmp_path, text):
    path = tmp_path / "names.txt"
    path.write_text(text)
    with pytest.raises(ExportError, match="one class name a line"):
        export_model("cas_vit_xs", tmp_path / "x.onnx", class_names=path)


def test_the_names_of_1000_classes_are_imagenets():
    from edgevit.export.checkpoint.class_names import default_class_names

    names = default_class_names(1000)
    assert len(names) == 1000
    assert (names[0], names[999]) == ("tench", "toilet tissue")
