"""The search for the first bad node against plain twins that measure every tensor."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevit.core.model.graph import Graph, Node
from edgevit.parity.bisect import Lineage, Measured, Search

SEEDS = st.integers(0, 2**32 - 1)


def random_graph(random):
    """Up to 40 nodes; some read constants alone, and some make two tensors."""
    nodes, known = [], ["input", "constant"]
    for number in range(random.randint(1, 40)):
        read = random.sample(known, min(len(known), random.randint(0, 3)))
        made = [f"{number}{letter}" for letter in "ab"[: random.randint(1, 2)]]
        nodes.append(Node("", "Add", tuple(read), tuple(made)))
        known += made
    return Graph(tuple(nodes), ("input",), (nodes[-1].outputs[0],), {"constant": 1})


def makers(graph):
    return {name: node for node in graph.nodes for name in node.outputs}


def is_live(graph, tensor):
    """Whether a tensor depends on the graph's inputs, or on a node that makes a graph output."""
    if tensor in graph.inputs:
        return True
    node = makers(graph).get(tensor)
    if node is None:
        return False
    return bool({*node.outputs} & {*graph.outputs}) or any(
        is_live(graph, name) for name in node.inputs
    )


def plain_parents(graph, common, tensor):
    """The plain twin of a lineage: walk up from a tensor until a common one is met on every way."""
    found = set()
    for name in makers(graph)[tensor].inputs:
        if name in graph.inputs or not is_live(graph, name):
            continue
        found |= {name} if name in common else plain_parents(graph, common, name)
    return found


def plain_first_bad(lineage, bad):
    """The plain twin of the search: all bad tensors whose parents are all good."""
    found = set()
    for name, parents in lineage.parents.items():
        if name in bad and not any(parent in bad for parent in parents):
            found.add(name)
    return found


def bad_tensors(lineage, random):
    """What is bad when some nodes are wrong, and some make something good of anything."""
    bad = set()
    broken = set(random.sample(sorted(lineage.parents), min(2, len(lineage.parents))))
    for name, parents in lineage.parents.items():  # in the graph's order
        passes_on = random.random() < 0.8 and any(parent in bad for parent in parents)
        if name in broken or passes_on:
            bad.add(name)
    return bad


class FakeProbe:
    """Knows which tensors are bad, and counts what it is asked for.

    Args:
        output: the graph's output, which is measured each time.
        bad: names of the bad tensors.
        fused: the tensors of which none may be shown if the output is to be bad.
    """

    def __init__(self, output, bad, fused=()):
        self.output = output
        self.bad = bad
        self.fused = set(fused)
        self.asked = []

    def measure(self, names):
        self.asked.append(list(names))
        bad = set() if self.fused.intersection(names) else self.bad
        return {name: Measured(float(name in bad), 0.5) for name in (*names, self.output)}


def search(lineage, output, bad, *, probes=16, fused=()):
    probe = FakeProbe(output, bad, fused)
    found = Search(probe, lineage, probes, lambda *_: None)
    return found.run(output, Measured(1.0, 0.5)), found, probe


def chain(length):
    nodes = [Node("", "Relu", (f"{i - 1}" if i else "input",), (f"{i}",)) for i in range(length)]
    graph = Graph(tuple(nodes), ("input",), (f"{length - 1}",), {})
    return Lineage.of(graph, map(str, range(length)))


@settings(max_examples=200, derandomize=True)
@given(SEEDS)
def test_parents_are_the_nearest_tensors_that_both_files_have(seed):
    random = Random(seed)
    graph = random_graph(random)
    common = {name for name in makers(graph) if random.random() < 0.6}
    expected = {
        name: plain_parents(graph, common, name)
        for name in makers(graph)
        if name in common and is_live(graph, name)
    }
    assert Lineage.of(graph, common).parents == expected


@pytest.mark.parametrize("probes", [1, 2, 16])
@settings(max_examples=200, derandomize=True)
@given(SEEDS)
def test_what_is_found_is_bad_and_all_that_it_reads_is_good(probes, seed):
    random = Random(seed)
    graph = random_graph(random)
    lineage = Lineage.of(graph, makers(graph))
    bad = bad_tensors(lineage, random)
    output = random.choice(sorted(bad))
    found, _, probe = search(lineage, output, bad, probes=probes)
    assert found in plain_first_bad(lineage, bad)
    assert found in {output} | lineage.ancestors(output)
    assert all(1 <= len(names) <= probes for names in probe.asked)
    asked = [name for names in probe.asked for name in names]
    assert len(set(asked)) == len(asked)  # nothing is measured twice


@pytest.mark.parametrize("wrong", [0, 1, 499, 998, 999])
def test_a_chain_is_halved_from_probe_to_probe(wrong):
    bad = {str(i) for i in range(wrong, 1000)}
    found, done, probe = search(chain(1000), "999", bad, probes=1)
    assert found == str(wrong)
    assert len(probe.asked) <= 10  # 2**10 > 1000
    assert len(done.measured) == len(probe.asked) + 1


def test_a_node_that_diverges_only_while_it_is_fused_is_not_found():
    found, done, _ = search(chain(9), "8", {str(i) for i in range(3, 9)}, probes=1, fused=["4"])
    assert found is None
    assert done.vanished_with == ["4"]
