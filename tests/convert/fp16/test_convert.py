"""Graphs in half precision: what stays in float32, and that their answers hardly move."""

from collections import Counter

import numpy as np
import pytest

pytestmark = pytest.mark.torch  # onnx comes with it
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
ir = pytest.importorskip("onnx_ir", reason="onnx_ir is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from value_types import value_types  # noqa: E402

import edgevit  # noqa: E402
from edgevit.convert.fp16.convert import convert_to_fp16, fp16_graph  # noqa: E402
from edgevit.convert.half_weights import (  # noqa: E402
    store_in_half_precision,
    widen_stored_weights,
)
from edgevit.convert.metadata import embed_spec  # noqa: E402
from edgevit.convert.session import load_graph  # noqa: E402
from edgevit.doctor import self_test  # noqa: E402
from edgevit.errors import ExportError, SpecError  # noqa: E402
from edgevit.zoo import find_model  # noqa: E402

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
SHAPE = (1, 4, 8, 8)
BATCH = np.random.default_rng(0).random(SHAPE, np.float32)
WEIGHT = np.random.default_rng(1).random((4, 4, 1, 1), np.float32)


def graph_of(nodes, output=("y", FLOAT), **weights):
    """A graph from `image`, SHAPE, to one output; `w` are weights of 1x1 convolutions."""
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", FLOAT, SHAPE)],
        [helper.make_tensor_value_info(*output, None)],
        [numpy_helper.from_array(WEIGHT, "w"), *tensors],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def between_convolutions(kind, extra=(), attributes=(), **weights):
    return graph_of(
        [
            helper.make_node("Conv", ["image", "w"], ["before"]),
            helper.make_node(kind, ["before", *extra], ["after"], "it", **dict(attributes)),
            helper.make_node("Conv", ["after", "w"], ["y"]),
        ],
        **weights,
    )


def type_of(model, name="it"):
    """The float type that a node answers."""
    (node,) = (node for node in model.graph.node if node.name == name)
    return value_types(model)[node.output[0]]


def casts_of_casts(model):
    made = {node.output[0] for node in model.graph.node if node.op_type == "Cast"}
    return [node for node in model.graph.node if node.op_type == "Cast" and node.input[0] in made]


ONE = np.ones(1, np.float32)
LINE = {"scale": np.ones(8, np.float32)}
TWICE = {"scales": np.array([1, 1, 2, 2], np.float32)}
KEPT = [
    ("LayerNormalization", ["scale"], {}, LINE),
    ("InstanceNormalization", ["s", "b"], {}, {"s": np.ones(4, "f4"), "b": np.ones(4, "f4")}),
    ("Softmax", [], {}, {}),
    ("ReduceMean", ["axes"], {}, {"axes": np.array([2, 3])}),
    ("GlobalAveragePool", [], {}, {}),
    ("AveragePool", [], {"kernel_shape": [2, 2]}, {}),
    ("Pow", ["one"], {}, {"one": ONE}),
    ("Div", ["one"], {}, {"one": ONE}),
    ("Exp", [], {}, {}),
    ("Sqrt", [], {}, {}),
    ("MatMul", ["mean"], {}, {"mean": np.full((8, 8), 1 / 8, np.float32)}),
    ("Resize", ["", "scales"], {"mode": "linear"}, TWICE),
]
HALVED = [
    ("Add", ["one"], {}, {"one": ONE}),
    ("Mul", ["one"], {}, {"one": ONE}),
    ("Relu", [], {}, {}),
    ("Gelu", [], {}, {}),
    ("Sigmoid", [], {}, {}),
    ("Clip", ["", "one"], {}, {"one": np.array(1, np.float32)}),
    ("MatMul", ["m"], {}, {"m": np.eye(8, dtype=np.float32)}),
    ("Transpose", [], {"perm": [0, 1, 3, 2]}, {}),
    ("MaxPool", [], {"kernel_shape": [2, 2]}, {}),
    ("Resize", ["", "scales"], {"mode": "nearest"}, TWICE),
]


@pytest.mark.parametrize(
    ("row", "dtype", "casts"),
    [(row, FLOAT, 4) for row in KEPT] + [(row, HALF, 2) for row in HALVED],
    ids=lambda value: "_".join((value[0], *value[1])) if isinstance(value, tuple) else "",
)
def test_sensitive_operators_stay_in_float32(row, dtype, casts):
    kind, extra, attributes, weights = row
    graph = between_convolutions(kind, extra, attributes, **weights)
    half = fp16_graph(graph, [BATCH], {})
    assert type_of(half.model) == dtype
    assert sum(node.op_type == "Cast" for node in half.model.graph.node) == casts

    expected = load_graph(graph)(BATCH)["y"]
    for form in (half.model, half.rounded):
        answer = load_graph(form)(BATCH)["y"]
        assert answer.dtype == np.float32
        assert np.abs(answer - expected).max() < 0.005 * expected.max()


def test_what_leads_to_a_decision_stays_in_float32_up_to_the_product():
    graph = graph_of(
        [
            helper.make_node("Conv", ["image", "w"], ["offsets"], "product"),
            helper.make_node("Transpose", ["offsets"], ["moved"], "move", perm=[0, 2, 3, 1]),
            helper.make_node("Add", ["moved", "far"], ["places"], "it"),
            helper.make_node("Floor", ["places"], ["y"]),
        ],
        far=np.array(100, np.float32),
    )
    half = fp16_graph(graph, [BATCH], {}).model
    assert [type_of(half, name) for name in ("product", "move", "it")] == [HALF, HALF, FLOAT]


def test_a_value_that_two_nodes_read_is_cast_once_and_ahead_of_moves():
    graph = graph_of(
        [
            helper.make_node("Conv", ["image", "w"], ["x"]),
            helper.make_node("LayerNormalization", ["x", "scale"], ["normed"]),
            helper.make_node("Transpose", ["normed"], ["moved"], "it", perm=[0, 1, 3, 2]),
            helper.make_node("Conv", ["moved", "w"], ["a"]),
            helper.make_node("Conv", ["moved", "w"], ["b"]),
            helper.make_node("Add", ["a", "b"], ["y"]),
        ],
        **LINE,
    )
    half = fp16_graph(graph, [BATCH], {}).model
    assert type_of(half) == HALF
    assert Counter(node.op_type for node in half.graph.node)["Cast"] == 4
    assert [tensor.name for tensor in half.graph.initializer] == ["w.float16", "scale"]


def test_rounding_is_that_of_numpys_half_precision():
    scale = np.float32(1.0009765625)  # of two halves next to each other the larger
    graph = graph_of(
        [
            helper.make_node("Conv", ["image", "w"], ["x0"]),
            *(helper.make_node("Mul", [f"x{i}", "scale"], [f"x{i + 1}"]) for i in range(5)),
            helper.make_node("Relu", ["x5"], ["y"]),
        ],
        scale=np.array(scale),
    )
    half = fp16_graph(graph, [BATCH], {})
    kernel = WEIGHT[:, :, 0, 0].astype(np.float16).astype(np.float32)
    image = BATCH.astype(np.float16).astype(np.float32)
    expected = np.einsum("oi,bihw->bohw", kernel, image).astype(np.float16)
    for _ in range(5):
        expected = expected * np.float16(scale)
    difference = np.abs(load_graph(half.rounded)(BATCH)["y"] - np.maximum(expected, 0))
    assert np.mean(difference > 0) < 0.01  # where the product's sum lies between two halves


@pytest.mark.parametrize(
    ("weights", "largest"),
    [({"one": np.array(1e5, np.float32)}, 1e5), ({"one": np.array(2e3, np.float32)}, 2e3)],
    ids=["a weight", "an activation"],
)
def test_what_is_too_large_stays_in_float32_and_is_reported(weights, largest):
    half = fp16_graph(between_convolutions("Add", ["one"], **weights), [BATCH], {})
    assert type_of(half.model) == FLOAT
    assert max(half.too_large.values()) >= largest
    assert half.kept_nodes == 2
    assert any("too large for half precision" in note for note in half.notes())


def test_infinities_of_a_mask_are_not_too_large():
    mask = np.where(np.arange(8) < 6, 0, -np.inf).astype(np.float32)
    half = fp16_graph(between_convolutions("Add", ["mask"], mask=mask), [BATCH], {})
    assert type_of(half.model) == HALF


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([helper.make_node("Softmax", ["image"], ["y"])], "nothing in the graph"),
        (
            [
                helper.make_node("Cast", ["image"], ["a"], to=HALF),
                helper.make_node("Cast", ["a"], ["y"], to=FLOAT),
            ],
            "computes in half precision already",
        ),
        (
            [
                helper.make_node("QuantizeLinear", ["image", "s"], ["q"]),
                helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
            ],
            r"is quantized \(DequantizeLinear, QuantizeLinear\)",
        ),
        (
            [
                helper.make_node("Whirl", ["image"], ["a"], domain="my"),
                helper.make_node("Relu", ["a"], ["y"]),
            ],
            "'a', which a node Whirl makes, is not known",
        ),
    ],
    ids=["nothing to do", "half already", "quantized", "foreign operator"],
)
def test_graphs_that_do_not_fit_are_refused(nodes, message):
    model = graph_of(nodes, ("y", FLOAT), s=np.array(0.1, np.float32))
    model.opset_import.append(helper.make_opsetid("my", 1))
    with pytest.raises(ExportError, match=message):
        fp16_graph(model, [BATCH], {})


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The bundled classifier, whose weights are stored in half precision, in half precision."""
    path = tmp_path_factory.mktemp("half") / "half.onnx"
    return convert_to_fp16(find_model("cas_vit_xs_cifar10"), path)


def test_a_file_in_half_precision_says_so_and_takes_and_answers_float32(converted):
    model = onnx.load(converted.path)
    assert converted.spec.provenance.precision == "fp16"
    assert converted.spec.test_vector.tolerance >= 0.005
    assert converted.differences["logits"] < 0.005
    values = [*model.graph.input, *model.graph.output]
    assert {value.type.tensor_type.elem_type for value in values} == {FLOAT}
    assert casts_of_casts(model) == []
    kept = [node for node in model.graph.node if node.op_type == "ReduceMean"]
    assert {value_types(model)[node.output[0]] for node in kept} == {FLOAT}
    assert " nodes compute in half precision, between " in converted.notes[0]


def test_every_runtime_proves_a_file_in_half_precision(converted):
    tests = [test for test in self_test(converted.path) if test.device]
    assert tests
    assert [test.problem for test in tests] == [None] * len(tests)


def test_answers_in_half_precision_name_the_same_classes(converted, photos):
    paths = sorted(photos.glob("*.jpg"))
    with edgevit.Predictor("cas_vit_xs_cifar10") as full, edgevit.Predictor(converted.path) as half:
        assert [half(path).class_ids[0] for path in paths] == [
            full(path).class_ids[0] for path in paths
        ]


def test_a_file_in_half_precision_is_not_converted_again(converted, tmp_path):
    with pytest.raises(ExportError, match="in half precision already"):
        convert_to_fp16(converted.path, tmp_path / "again.onnx")


def test_a_file_without_spec_is_refused(tmp_path):
    onnx.save(between_convolutions("Relu"), tmp_path / "bare.onnx")
    with pytest.raises(SpecError, match="carries no edgevit spec"):
        convert_to_fp16(tmp_path / "bare.onnx", tmp_path / "half.onnx")


def test_a_model_that_half_precision_changes_is_refused(tmp_path, tiny):
    nodes = [
        helper.make_node("Conv", ["image", "small"], ["a"]),
        helper.make_node("Add", ["a", "far"], ["b"]),
        helper.make_node("Sub", ["b", "far"], ["c"]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    model = graph_of(
        nodes,
        small=np.full((3, 3, 1, 1), 0.03, np.float32),
        far=np.array(400, np.float32),
    )
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3
    spec = edgevit.Predictor(tiny).spec
    vector = spec.test_vector
    embed_spec(
        model, spec.with_test_vector(type(vector)(vector.image, vector.batch, {"y": vector.batch}))
    )
    onnx.save(model, tmp_path / "far.onnx")
    with pytest.raises(ExportError, match=r"moves 'y' by .* more than 0.05"):
        convert_to_fp16(tmp_path / "far.onnx", tmp_path / "half.onnx")
    assert not (tmp_path / "half.onnx").exists()


def test_stored_weights_are_widened_again():
    weight = np.random.default_rng(0).standard_normal((64, 64), np.float32)
    model = graph_of([helper.make_node("Conv", ["image", "w"], ["y"])], large=weight)
    model = ir.from_proto(model)
    store_in_half_precision(model)
    assert [node.op_type for node in model.graph] == ["Cast", "Conv"]
    widen_stored_weights(model)
    assert [node.op_type for node in model.graph] == ["Conv"]
    widened = model.graph.initializers["large"].const_value.numpy()
    assert np.array_equal(widened, weight.astype(np.float16).astype(np.float32))
