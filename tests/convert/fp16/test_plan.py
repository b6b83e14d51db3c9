"""The plan of half precision against its rules, tried on every set of nodes of small graphs."""

from itertools import chain, combinations
from random import Random
from typing import NamedTuple

import numpy as np
import pytest

pytestmark = pytest.mark.torch  # onnx comes with it
ir = pytest.importorskip("onnx_ir", reason="onnx_ir is not installed")

from edgevit.convert.fp16.plan import half_nodes  # noqa: E402

FLOAT, INT = ir.DataType.FLOAT, ir.DataType.INT64
UNIFORM = np.full((2, 2), 0.5, np.float32)

# Operator -> the types of what it reads and makes.
OPERATORS = {
    "Conv": ((FLOAT,), FLOAT),
    "MatMul": ((FLOAT, FLOAT), FLOAT),
    "Add": ((FLOAT, FLOAT), FLOAT),
    "Relu": ((FLOAT,), FLOAT),
    "Transpose": ((FLOAT,), FLOAT),
    "Resize": ((FLOAT, FLOAT), FLOAT),
    "Softmax": ((FLOAT,), FLOAT),
    "Floor": ((FLOAT,), FLOAT),
    "ArgMax": ((FLOAT,), INT),
    "RoiAlign": ((FLOAT, FLOAT), FLOAT),
    "Cast": ((INT,), FLOAT),
}
PRODUCTS, ARITHMETIC = {"Conv", "MatMul"}, {"Add", "Relu"}
MOVES, DECISIONS = {"Transpose", "Resize", "Cast"}, {"Floor", "ArgMax"}


class Node(NamedTuple):
    kind: str
    inputs: tuple[str, ...]
    output: str


def random_nodes(random, count):
    """Nodes of a few operators, that read something just before; `uniform` is a constant."""
    operators = random.sample(list(OPERATORS.items()), 4)
    values, nodes = {"uniform": FLOAT, "image": FLOAT, "places": INT}, []
    for index in range(count):
        kind, (reads, makes) = random.choice(operators)
        choices = [[name for name in values if values[name] == dtype][-2:] for dtype in reads]
        nodes.append(Node(kind, tuple(map(random.choice, choices)), f"v{index}"))
        values[f"v{index}"] = makes
    return nodes


def graph_of(nodes, outputs):
    values = {
        "image": ir.val("image", FLOAT),
        "uniform": ir.val("uniform", const_value=ir.tensor(UNIFORM)),
        "places": ir.val("places", INT),
    }
    made = []
    for node in nodes:
        dtype = OPERATORS[node.kind][1]
        values[node.output] = ir.val(node.output, dtype)
        inputs = [values[name] for name in node.inputs]
        attributes = {"to": int(FLOAT)} if node.kind == "Cast" else {}
        made.append(ir.node(node.kind, inputs, attributes, outputs=[values[node.output]]))
    inputs = [values["image"], values["places"]]
    ends = [values[name] for name in outputs]
    return ir.Graph(inputs, ends, nodes=made, initializers=[values["uniform"]])


class Rules:
    """What the plan's docstring says, without a thought of time."""

    def __init__(self, nodes, outputs, too_large):
        self.nodes, self.outputs, self.too_large = nodes, outputs, too_large

    def data(self, node):
        """What a node reads in the type that it computes in."""
        wanted = () if node.kind == "Cast" else node.inputs
        return wanted[:1] if node.kind == "Resize" else wanted

    def makers(self, node):
        return [other for other in self.nodes if other.output in self.data(node)]

    def readers(self, node):
        is_float = OPERATORS[node.kind][1] == FLOAT
        return [other for other in self.nodes if is_float and node.output in self.data(other)]

    def is_decision(self, node):
        boxes = {cut.inputs[1] for cut in self.nodes if cut.kind == "RoiAlign"}
        return node.kind in DECISIONS or node.output in boxes

    def leads_to_a_decision(self, node, stops):
        return node.kind not in stops and (
            self.is_decision(node)
            or any(self.leads_to_a_decision(reader, stops) for reader in self.readers(node))
        )

    def comes_from_a_cut(self, node):
        return node.kind == "RoiAlign" or any(map(self.comes_from_a_cut, self.makers(node)))

    def is_large(self, node):
        floats = {node.output} if OPERATORS[node.kind][1] == FLOAT else set()
        return not self.too_large.isdisjoint({*self.data(node), *floats})

    def is_kept(self, node):
        is_mean = node.kind == "MatMul" and "uniform" in node.inputs
        is_choosing = self.comes_from_a_cut(node) and self.leads_to_a_decision(node, {"RoiAlign"})
        is_deciding = self.leads_to_a_decision(node, {*PRODUCTS, "Softmax", "RoiAlign"})
        return is_mean or is_choosing or is_deciding or self.is_large(node)

    def belongs(self, node, half):
        """Whether a node has to be in half precision if those of `half` are."""
        follows = any(maker in half for maker in self.makers(node))
        readers = self.readers(node)
        leads = readers and node.output not in self.outputs and half.issuperset(readers)
        if node.kind in MOVES:
            return bool(follows or leads) and not self.is_large(node)
        return not self.is_kept(node) and (
            node.kind in PRODUCTS or (node.kind in ARITHMETIC and follows)
        )

    def smallest(self):
        """Of all sets of nodes that lack nothing which belongs to them, the smallest."""
        sizes = range(len(self.nodes) + 1)
        sets = chain.from_iterable(combinations(self.nodes, size) for size in sizes)
        return next(
            set(half)
            for half in sets
            if all(node in half for node in self.nodes if self.belongs(node, {*half}))
        )


def planned(nodes, outputs, too_large=frozenset()):
    found = half_nodes(graph_of(nodes, outputs), too_large)
    return {node.outputs[0].name for node in found}


@pytest.mark.parametrize("seed", range(20))
def test_the_plan_is_the_smallest_set_that_its_rules_allow(seed):
    random = Random(seed)
    for _ in range(50):
        nodes = random_nodes(random, 7)
        outputs = {nodes[-1].output, random.choice(nodes).output}
        too_large = set(random.sample([node.output for node in nodes], random.randrange(3)))
        expected = Rules(nodes, outputs, too_large).smallest()
        assert planned(nodes, outputs, too_large) == {node.output for node in expected}, nodes


def test_what_a_normalisation_reads_is_not_kept_for_a_decision_after_it():
    rows = ("Conv", "image", "a"), ("Relu", "a", "b"), ("Softmax", "b", "c"), ("Floor", "c", "d")
    nodes = [Node(kind, (read,), made) for kind, read, made in rows]
    assert planned(nodes, {"d"}) == {"a", "b"}
