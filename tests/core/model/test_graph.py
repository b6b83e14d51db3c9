import numpy as np
import pytest
from paths import DATA

from edgevit.core.model.graph import read_graph, write_with_outputs
from edgevit.core.runtime.registry import get_backend
from edgevit.errors import ModelError, ModelNotFoundError

CHAIN = DATA / "tiny_chain.onnx"
TINY = CHAIN.with_name("tiny.onnx")


def test_nodes_are_read_in_order_with_what_they_read_and_make():
    graph = read_graph(CHAIN)
    assert " ".join(node.operator for node in graph.nodes) == "Conv Relu Mul Mul Conv Reshape"
    assert (graph.nodes[3].name, graph.nodes[3].outputs) == ("node_gated", ("gated",))
    assert graph.nodes[3].inputs == ("rectified", "scaled")
    assert (graph.inputs, graph.outputs) == (("image",), ("logits",))
    assert graph.constants["row"] == 7  # int64


@pytest.mark.torch
def test_a_node_reads_what_graphs_inside_it_read(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    def branch(name, operator):
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
        node = helper.make_node(operator, ["outer", "x"], [name])
        return helper.make_graph([node], name, [], [value])

    node = helper.make_node(
        "If", ["flag"], ["y"], then_branch=branch("a", "Add"), else_branch=branch("b", "Mul")
    )
    graph = helper.make_graph([node], "if", [], [])
    path = tmp_path / "if.onnx"
    onnx.save(helper.make_model(graph), path)
    assert read_graph(path).nodes[0].inputs == ("flag", "outer", "x")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("model", [CHAIN, TINY], ids=["typed", "untyped"])
def test_copies_answer_inner_tensors_after_the_graphs_own_outputs(tmp_path, backend, model):
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    names = [node.outputs[0] for node in read_graph(model).nodes[:-1]]
    write_with_outputs(model, names, tmp_path / "copy.onnx")
    image = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    answers = []
    for path in (model, tmp_path / "copy.onnx"):
        session = get_backend(backend).load(path, device="cpu", options={})
        answers.append(
            {name: array.copy() for name, array in session.run({"image": image}).items()}
        )
        session.close()
    assert [*answers[1]] == ["logits", *names]
    np.testing.assert_allclose(answers[1]["logits"], answers[0]["logits"], rtol=1e-5)


def test_a_file_that_is_no_whole_model_is_refused(tmp_path):
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(CHAIN.read_bytes()[:-100])
    for action in (read_graph, lambda path: write_with_outputs(path, [], tmp_path / "copy")):
        with pytest.raises(ModelError, match="not a whole ONNX file"):
            action(cut)
        with pytest.raises(ModelNotFoundError):
            action(tmp_path / "nowhere.onnx")


@pytest.mark.torch
def test_weights_in_other_files_cannot_follow_a_copy(tmp_path):
    import onnx

    path = tmp_path / "apart.onnx"
    onnx.save(onnx.load(CHAIN), path, save_as_external_data=True, size_threshold=0)
    with pytest.raises(ModelError, match="keeps weights in other files"):
        write_with_outputs(path, ["mixed"], tmp_path / "copy.onnx")
