"""What the exporter must know about a kind of models; `edgevit.export.heads` lists them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgevit.export.checkpoint.weights import StateDict
from edgevit.export.operations import multiply_adds

Values = NDArray[Any]  # of whatever dtype an output has
Outputs = Mapping[str, Values]
Size = tuple[int, int]


def count_all(module: nn.Module, size: Size) -> int:
    """Multiply-adds of a module for one image of `size` (height, width)."""
    return multiply_adds(module, torch.empty(1, 3, *size, device="meta"))


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Values of a graph beside those of its module, which are equal but for rounding.

    Args:
        what: what they are, for messages.
        graph: float, the graph's.
        module: float, the module's, of the same shape.
    """

    what: str
    graph: Values
    module: Values

    @property
    def difference(self) -> float:
        """Largest absolute difference; NaN where a value is."""
        return float(np.abs(self.graph - self.module).max(initial=0))


@dataclass(frozen=True, slots=True)
class GraphHead:
    """How a model's graph ends, and how it is held against the module.

    Args:
        head: the spec's head parameters, as `parse_head` reads them.
        outputs: names of the graph's outputs, in order.
        attach: from the model's deploy form to the module that the graph is traced from.
        compare: from what the module answers for a batch, and what the graph does, to the values
            that must be equal. It must not matter how rounding orders or chooses what is alike.
        recorded: the outputs that a test vector can hold, because rounding does not reorder them.
        settings: the graph's further inputs by name, in order, with the values that it is compared
            and recorded with.
        reference: from the module to the one that answers what the graph does with `settings`.
        count: from the module and the input size to the multiply-adds for one image.
        compare_half: `compare` for graphs in half precision, where it is another.
    """

    head: Mapping[str, Any]
    outputs: tuple[str, ...]
    attach: Callable[[nn.Module], nn.Module]
    compare: Callable[[Any, Outputs], Iterable[Comparison]]  # Any: each kind's own answer
    recorded: tuple[str, ...]
    settings: Mapping[str, Values] = field(default_factory=dict)
    reference: Callable[[Any], nn.Module] = lambda module: module
    count: Callable[[Any, Size], int] = count_all
    compare_half: Callable[[Any, Outputs], Iterable[Comparison]] | None = None


@dataclass(frozen=True, slots=True)
class HeadExporter:
    """What the exporter must know about models with one kind of head.

    Args:
        num_classes: reads the number of classes from weights; None where it is not there.
        widths: reads from weights what else the model is built with, by argument.
        graph_head: from the module, the input size and one of `forms`, the first by default, to how
            its graph ends.
        forms: forms of the output to choose from; none where there is one only.
        size_step: what sides of the input are multiples of; models that say it themselves: 1.
        has_score_threshold: whether its head parameters have one, as detectors' do.
    """

    num_classes: Callable[[StateDict], int | None]
    widths: Callable[[StateDict], Mapping[str, int]]
    graph_head: Callable[[Any, Size, str | None], GraphHead]  # Any: each kind's own class of module
    forms: tuple[str, ...] = ()
    size_step: int = 1
    has_score_threshold: bool = False
