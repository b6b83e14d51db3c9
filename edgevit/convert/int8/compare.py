"""How far a quantized model's answers are from the float32 model's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgevit.convert.graph import constant_of, name_of, present, to_proto
from edgevit.convert.int8.graph import Array, after_choices
from edgevit.convert.session import Feeds, Outputs, runner

WEIGHTED = {"Conv", "Gemm", "MatMul", "ConvTranspose"}


@dataclass(frozen=True, slots=True)
class Difference:
    """What quantization changed.

    Args:
        error: root mean square of the change over that of the values, over all images and probes.
        agreement: share, 0-1, of the places (the image, or each cell of a map) whose best class
            is the same.
    """

    error: float
    agreement: float


class Reference:
    """The float32 model's answers to some images.

    What is compared are *probes*, the outputs of the last layers with weights, before the best
    candidates or classes are chosen: choosing is a step, and hides how far from it the values are.

    Args:
        model: the float32 graph.
        batches: inputs of the graph.
    """

    def __init__(self, model: ir.Model, batches: Sequence[Feeds]) -> None:
        self.probes = probes(model)
        self._batches = batches
        run = self._runner(model)
        self._answers = [run(feeds) for feeds in batches]

    def __len__(self) -> int:
        return len(self._batches)

    def difference(
        self, quantized: ir.Model, *, limit: int | None = None, step: Callable[[], object] = int
    ) -> Difference:
        """Compare a quantized graph.

        Args:
            quantized: the graph; its tensors have the names of the float32 one's.
            limit: how many of the images to answer; None for all.
            step: called after each image.
        """
        run = self._runner(quantized, exact=True)
        found = []
        for feeds, expected in list(zip(self._batches, self._answers, strict=True))[:limit]:
            found.append(_differences(expected, run(feeds)))
            step()
        change, size, same = np.mean(found, axis=0)  # each (probes,)
        return Difference(float(np.sqrt(np.mean(change / size))), float(np.mean(same)))

    def _runner(self, model: ir.Model, *, exact: bool = False) -> Callable[[Feeds], Outputs]:
        return runner(to_proto(model, extra_outputs=self.probes), self.probes, exact=exact)


def probes(model: ir.Model) -> list[str]:
    """The tensors that the last nodes with weights answer, in the order of the graph."""
    chosen = after_choices(model)
    waiting, seen, found = list(model.graph.outputs), set(), set()
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if node is None or value in seen:
            continue
        seen.add(value)
        has_weights = any(constant_of(i) is not None for i in node.inputs)
        if node.op_type in WEIGHTED and has_weights and value not in chosen:
            found.add(value)
        else:
            waiting.extend(present(node.inputs))
    return [name_of(v) for node in model.graph for v in node.outputs if v in found]


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
