"""`edgevit.convert.quantize` on a small model, and on the bundled classifier."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed (the extra `quantize`)")
pytest.importorskip("onnx_ir", reason="onnx_ir is not installed (the extra `quantize`)")

import onnxruntime  # noqa: E402
from small_model import SIDE, write_small_model  # noqa: E402

from edgevit.convert import quantize  # noqa: E402
from edgevit.convert.int8.insert import WEIGHT_LIMIT  # noqa: E402
from edgevit.core.image.files import pictures_in  # noqa: E402
from edgevit.doctor import self_test  # noqa: E402
from edgevit.errors import InputError, ModelError, QuantizationError, SpecError  # noqa: E402
from edgevit.evaluate import DataSet  # noqa: E402
from edgevit.predictor import Predictor  # noqa: E402

BACKENDS = ("onnxruntime", "openvino")
FORMS = (*BACKENDS, "tensorrt")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(2)
    for index in range(6):
        patch = generator.integers(0, 256, (6, 6, 3), np.uint8)
        enlarged = cv2.resize(patch, (48, 40), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{index}.png"), enlarged)
    return folder


@pytest.fixture
def small(tmp_path):
    return write_small_model(tmp_path / "small.onnx")


@pytest.fixture
def int8(small, pictures, tmp_path):
    output = tmp_path / "int8.onnx"
    report = quantize(small, output, pictures, target="onnxruntime")
    return output, report


def initializers(path):
    graph = onnx.load(path).graph
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}


def answers(path, backend, batches):
    with Predictor(path, backend=backend) as predictor:
        return np.concatenate([predictor.infer(batch)["logits"] for batch in batches])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_form_gives_nearly_the_float32_answers_on_every_backend(
    small, pictures, tmp_path, form, backend
):
    quantize(small, tmp_path / "int8.onnx", pictures, target=form)
    with Predictor(small, backend="onnxruntime") as predictor:
        batches = [predictor.preprocess(path)[0] for path in pictures_in(pictures)]
    before = answers(small, "onnxruntime", batches)
    after = answers(tmp_path / "int8.onnx", backend, batches)
    assert np.abs(after - before).max() < 0.05 * np.abs(before).max()
    assert (after.argmax(axis=1) == before.argmax(axis=1)).all()


def test_weights_have_seven_bits_and_a_scale_for_each_channel(int8):
    constants = initializers(int8[0])
    weights = {name: value for name, value in constants.items() if value.dtype == np.int8}
    dense = {name: value for name, value in weights.items() if value.ndim == 4}
    assert len(dense) == 3
    for name, levels in dense.items():
        assert np.abs(levels).reshape(len(levels), -1).max(axis=1).tolist() == [WEIGHT_LIMIT] * len(
            levels
        )
        assert constants[name.replace(".int8", ".scale")].shape == (len(levels),)


def test_zero_points_are_zero_as_tensorrt_asks(int8):
    points = [value for name, value in initializers(int8[0]).items() if "zero_point" in name]
    assert points
    assert not any(np.any(value) for value in points)
    assert {value.dtype for value in points} == {np.dtype(np.int8)}


def test_linear_layers_become_convolutions_in_one_layout(int8):
    kinds = [node.op_type for node in onnx.load(int8[0]).graph.node]
    assert kinds.count("Conv") == 4  # the stem, and three products
    assert kinds.count("Gemm") == 1  # the head is too small to gain
    assert kinds.count("MatMul") == 0
    assert kinds.count("Transpose") <= 3  # none around the GELU


@pytest.mark.parametrize("backend", BACKENDS)
def test_greatest_activations_and_weights_do_not_overflow(tmp_path, pictures, backend):
    """With 8-bit weights, AVX2 without VNNI would clip each pair of products here."""
    weights = {
        "stem.weight": np.full((16, 3, 3, 3), 0.1, np.float32),
        "mix.weight": np.tile(np.float32([0.1, -0.1]), 128)
        .reshape(16, 16)
        .T[..., None, None]
        .copy(),
        "mix.bias": np.zeros(16, np.float32),
    }
    bright = tmp_path / "bright.png"
    cv2.imwrite(str(bright), np.full((SIDE, SIDE, 3), 255, np.uint8))
    model = write_small_model(tmp_path / "bright.onnx", weights=weights)
    quantize(model, tmp_path / "int8.onnx", [bright], target=backend, rule="minmax")
    with Predictor(model, backend="onnxruntime") as predictor:
        batch, _ = predictor.preprocess(bright)
    before, after = (
        answers(model, "onnxruntime", [batch]),
        answers(tmp_path / "int8.onnx", backend, [batch]),
    )
    assert np.abs(after - before).max() < 0.05 * np.abs(before).max()


def test_doctor_proves_the_file_within_its_own_tolerance(int8):
    path, report = int8
    tests = self_test(path)
    problems = {test.backend: test.problem for test in tests if test.device}
    assert problems == dict.fromkeys(BACKENDS)
    assert report.spec.test_vector.tolerance >= 0.01


def test_doctor_finds_a_device_that_computes_otherwise(int8):
    path, _ = int8
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "head.weight":
            other = onnx.numpy_helper.to_array(tensor) * np.float32(1.5)
            tensor.CopyFrom(onnx.numpy_helper.from_array(other, tensor.name))
    onnx.save(model, path)
    assert all("outputs differ" in test.problem for test in self_test(path) if test.device)


def test_the_spec_travels_on_and_says_what_calibrated_it(int8):
    path, report = int8
    with Predictor(path, backend="onnxruntime") as predictor:
        spec = predictor.spec
    assert (spec.name, spec.class_names) == ("small_int8", ("red", "green", "blue"))
    assert f"int8 calibrated on 6 pictures ({report.rule})" in spec.provenance.exporter
    assert spec.provenance.precision == "int8"


def test_the_report_names_every_layer_and_what_few_pictures_mean(int8):
    document = json.loads(json.dumps(int8[1].to_dict()))
    assert [layer["layer"] for layer in document["layers"]] == ["mix", "fc1", "fc2"]
    assert {layer["precision"] for layer in document["layers"]} == {"int8"}
    assert set(document["rules"]) == {"minmax", "percentile", "entropy"}
    assert document["notes"][0].startswith("only 6 pictures calibrated the model")
    assert "the form that onnxruntime computes fast" in document["notes"][1]


def test_layers_stay_in_floating_point_to_keep_the_error(small, pictures, tmp_path):
    full = quantize(small, tmp_path / "a.onnx", pictures, target="tensorrt")
    errors = [layer.error for layer in full.layers]
    limit = 0.9 * float(np.sqrt(np.sum(np.square(errors))))
    report = quantize(small, tmp_path / "b.onnx", pictures, target="tensorrt", max_error=limit)
    assert "fp32" in {layer.precision for layer in report.layers}
    with pytest.raises(QuantizationError, match="no layer can be quantized"):
        quantize(small, tmp_path / "c.onnx", pictures, target="tensorrt", max_error=1e-9)


def test_named_layers_stay_in_floating_point(small, pictures, tmp_path):
    paths, output = pictures_in(pictures), tmp_path / "int8.onnx"
    report = quantize(small, output, paths, target="tensorrt", keep_float=["fc1"])
    assert [layer.precision for layer in report.layers] == ["int8", "fp32", "int8"]
    assert "fc1.weight.1x1" in initializers(output)
    with pytest.raises(InputError, match=r"did you mean 'fc2'\?\); known: mix, fc1, fc2"):
        quantize(small, output, paths, target="tensorrt", keep_float=["fc9"])


def test_a_data_set_calibrates_with_as_many_as_it_says(small, pictures, tmp_path):
    data = DataSet(pictures, limit=3)
    report = quantize(small, tmp_path / "int8.onnx", data, target="tensorrt", rule="minmax")
    assert report.images == 3


def test_the_fastest_form_is_measured(small, pictures, tmp_path):
    report = quantize(small, tmp_path / "int8.onnx", pictures)
    assert report.backend == min(report.speeds, key=lambda name: report.speeds[name].int8_ms)
    assert set(report.speeds) == set(BACKENDS)


def test_unreadable_pictures_are_left_out_and_named(small, pictures, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    paths = [*pictures_in(pictures), broken]
    report = quantize(small, tmp_path / "int8.onnx", paths, target="tensorrt")
    assert (report.images, list(report.skipped)) == (6, [str(broken)])
    assert "1 pictures could not be read and were left out" in report.notes[1]
    with pytest.raises(QuantizationError, match="no calibration picture can be read"):
        quantize(small, tmp_path / "none.onnx", [broken], target="tensorrt")


def labeled(folder, class_of):
    """A data set of plain pictures with labels that `class_of` gives."""
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        path = folder / class_of(pixels) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)
    return folder


def test_the_gate_measures_before_and_after_and_refuses(small, pictures, tmp_path):
    with Predictor(small) as predictor:
        truth = labeled(
            tmp_path / "data", lambda pixels: predictor.classify(pixels, top_k=1).class_names[0]
        )
    output, paths = tmp_path / "int8.onnx", pictures_in(pictures)
    with pytest.raises(QuantizationError, match=r"loses 0\.00 points of top1 on 4 pictures"):
        quantize(small, output, paths, target="tensorrt", data=truth, max_drop=-1)
    assert not output.exists()
    report = quantize(small, output, paths, target="tensorrt", data=truth)
    assert (report.accuracy.before, report.accuracy.after, report.accuracy.drop) == (1, 1, 0)
    assert output.exists()


def test_what_cannot_be_quantized_is_refused(small, int8, pictures, tmp_path):
    paths, output = pictures_in(pictures), tmp_path / "out.onnx"
    with pytest.raises(QuantizationError, match="is quantized already"):
        quantize(int8[0], output, paths)
    with pytest.raises(ModelError, match=r"absent\.onnx"):
        quantize(tmp_path / "absent.onnx", output, paths)
    bare = onnx.load(small)
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    with pytest.raises(SpecError, match="carries no edgevit spec"):
        quantize(tmp_path / "bare.onnx", output, paths)
    with pytest.raises(InputError, match="rule must be one of auto, minmax"):
        quantize(small, output, paths, rule="median")
    with pytest.raises(InputError, match="backend must be one of auto, openvino"):
        quantize(small, output, paths, target="tflite")
    with pytest.raises(InputError, match="is not there; make it first"):
        quantize(small, tmp_path / "absent" / "out.onnx", paths)
    assert not output.exists()


def test_an_interruption_leaves_nothing_behind(small, pictures, tmp_path):
    folder = tmp_path / "output"
    folder.mkdir()

    def interrupt(step, done, total):
        if step.startswith("writing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(
            small,
            folder / "int8.onnx",
            pictures,
            target="tensorrt",
            progress=interrupt,
        )
    assert list(folder.iterdir()) == []


def test_a_graph_is_the_same_after_linear_layers_are_rewritten(small):
    from edgevit.convert.graph import to_proto
    from edgevit.convert.int8.graph import read_float_model
    from edgevit.convert.int8.pointwise import linear_layers_as_convolutions
    from edgevit.convert.int8.quantize import _shapes

    batch = {"image": np.random.default_rng(3).standard_normal((1, 3, SIDE, SIDE), np.float32)}
    model = read_float_model(Path(small))
    linear_layers_as_convolutions(model, _shapes(model, batch))
    before = onnxruntime.InferenceSession(small).run(None, batch)[0]
    after = onnxruntime.InferenceSession(to_proto(model).SerializeToString()).run(None, batch)[0]
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_the_polynomial_is_close_to_gelu():
    from edgevit.convert.int8.gelu import COEFFICIENTS, LIMIT

    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 20]> g (float[N] x) => (float[N] y) { y = Gelu(x) }'
    )
    x = np.linspace(-8, 8, 4001, dtype=np.float32)
    exact = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    t = np.clip(x, -LIMIT, LIMIT)
    share = 0.5 + t * np.polynomial.polynomial.polyval(t * t, COEFFICIENTS)
    assert np.abs(x * share - exact).max() < 0.01


def test_runtimes_agree_about_photographs(small, tmp_path, photos):
    output, paths = tmp_path / "int8.onnx", pictures_in(photos)
    quantize(small, output, paths, target="openvino")
    with Predictor(small, backend="onnxruntime") as predictor:
        batches = [predictor.preprocess(path)[0] for path in paths]
    first, second = (answers(output, backend, batches) for backend in BACKENDS)
    assert (first.argmax(axis=1) == second.argmax(axis=1)).all()
    assert np.abs(first - second).max() < 0.02 * np.abs(first).max()


@pytest.mark.slow
def test_runtimes_agree_about_the_bundled_classifier(tmp_path, photos):
    from edgevit.zoo import find_model

    output = tmp_path / "int8.onnx"
    paths = pictures_in(photos)
    quantize(find_model(None), output, paths, target="openvino", rule="minmax", limit=8)
    found = []
    for backend in BACKENDS:
        with Predictor(output, backend=backend) as predictor:
            found.append([predictor.classify(path).class_ids[0] for path in paths])
    assert found[0] == found[1]


def test_normalized_tokens_get_a_batch_axis_for_openvino_alone(small, pictures, tmp_path):
    reshapes = []
    for form in FORMS:
        quantize(small, tmp_path / "int8.onnx", pictures, target=form)
        kinds = [node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node]
        reshapes.append(kinds.count("Reshape"))
    assert reshapes == [3, 4, 3]
