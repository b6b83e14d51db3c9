"""How far a quantised model's answers are from the float32 model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevit.convert.int8.calibrate import Feeds, runner
from edgevit.convert.int8.graph import Array, Graph

WEIGHTED = {"Conv", "Gemm", "MatMul", "ConvTranspose"}


@dataclass(frozen=True, slots=True)
class Difference:
    """What quantisation changed.

    Args:
        error: root mean square of the change over that of the values, over all pictures and probes.
        agreement: share, 0-1, of the places (the picture, or each cell of a map) whose best class
            is the same.
    """

    error: float
    agreement: float


class Reference:
    """The float32 model's answers to some pictures.

    What is compared are *probes*, the outputs of the last layers with weights, before the best
    candidates or classes are chosen: choosing is a step, and hides how far from it the values are.

    Args:
        graph: the float32 graph.
        batches: inputs of the graph.
    """

    def __init__(self, graph: Graph, batches: Sequence[Feeds]) -> None:
        self.probes = probes(graph)
        self._batches = batches
        run = runner(graph.model(extra_outputs=self.probes), self.probes)
        self._answers = [run(feeds) for feeds in batches]

    def __len__(self) -> int:
        return len(self._batches)

    def difference(
        self, quantised: Graph, *, limit: int | None = None, step: Callable[[], object] = int
    ) -> Difference:
        """Compare a quantised graph.

        Args:
            quantised: the graph; its tensors have the names of the float32 one's.
            limit: how many of the pictures to answer; None for all.
            step: called after each picture.
        """
        run = runner(quantised.model(extra_outputs=self.probes), self.probes, exact=True)
        found = []
        for feeds, expected in list(zip(self._batches, self._answers, strict=True))[:limit]:
            found.append(_differences(expected, run(feeds)))
            step()
        change, size, same = np.mean(found, axis=0)  # each (probes,)
        return Difference(float(np.sqrt(np.mean(change / size))), float(np.mean(same)))


def probes(graph: Graph) -> list[str]:
    """The tensors that the last nodes with weights answer, in the order of the graph."""
    producers = {name: node for node in graph.nodes for name in node.output}
    chosen = graph.after_choices()
    waiting, seen, found = list(graph.outputs), set(), set()
    while waiting:
        name = waiting.pop()
        node = producers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        has_weights = any(i in graph.constants for i in node.input)
        if node.op_type in WEIGHTED and has_weights and name not in chosen:
            found.add(name)
        else:
            waiting.extend(node.input)
    return [name for node in graph.nodes for name in node.output if name in found]


def _differences(
    expected: Mapping[str, Array], answers: Mapping[str, Array]
) -> NDArray[np.float64]:
    rows = []
    for name, values in expected.items():
        change = np.square(answers[name] - values, dtype=np.float64).mean()
        size = max(np.square(values, dtype=np.float64).mean(), 1e-12)
        same = np.mean(answers[name].argmax(axis=1) == values.argmax(axis=1))
        rows.append((change, size, same))
    return np.array(rows, np.float64).T
