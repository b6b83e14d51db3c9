"""Does a loaded graph, and what it answers, fit the spec that describes it?

What a graph may take besides the image, its head says (`edgevit.core.model.heads`); what it must
answer, the module of its task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevit.core.model.heads import Head
from edgevit.core.model.spec import ModelSpec
from edgevit.core.runtime.protocols import AnyArray, Session, TensorInfo
from edgevit.errors import InputError, SpecError, suggestion

GRAPH_INPUTS = {
    info.name: info
    for info in (
        TensorInfo("image_size", np.dtype(np.float32), (2,)),
        TensorInfo("score_threshold", np.dtype(np.float32), (1,)),
        TensorInfo("max_masks", np.dtype(np.int64), (1,)),
    )
}
"""Inputs besides the image that heads know of, by name."""


@dataclass(frozen=True, slots=True)
class Output:
    """What one graph output must be.

    Args:
        name: its name; None for whatever name the graph has.
        kinds: NumPy's kinds of dtype that will do.
        dtype: the dtype as messages state it.
        shape: for each axis its length, or a letter for one that is the same in all outputs.
    """

    name: str | None
    kinds: str
    dtype: str
    shape: tuple[int | str, ...]

    def fits(
        self, dtype: np.dtype[Any], shape: Sequence[int | None], lengths: dict[str, int]
    ) -> bool:
        """Compare with a dtype and a shape; `lengths` collects what each letter stands for."""
        return (
            dtype.kind in self.kinds
            and (dtype.kind != "f" or dtype == np.float32)
            and len(shape) == len(self.shape)
            and all(
                got is None
                or got == (lengths.setdefault(want, got) if isinstance(want, str) else want)
                for want, got in zip(self.shape, shape, strict=True)
            )
        )

    def __str__(self) -> str:
        axes = ", ".join(map(str, self.shape))
        return f"{self.name or 'one output'!r} {self.dtype} ({axes})"


@dataclass(frozen=True, slots=True)
class Signature:
    """What a graph takes and answers.

    Args:
        input: name of the image input.
        graph_inputs: names of the other inputs.
        outputs: what it must answer, with the graph's names.
    """

    input: str
    graph_inputs: tuple[str, ...]
    outputs: tuple[Output, ...]

    def feeds(self, batch: AnyArray, graph_inputs: Mapping[str, object]) -> dict[str, AnyArray]:
        """Make what the session is run with.

        Args:
            batch: float32 (N, 3, height, width).
            graph_inputs: values of the graph's other inputs by name; those of inputs that this
                graph does not have are left out.
        """
        if not self.graph_inputs:
            return {self.input: batch}
        return {self.input: batch} | {
            name: np.array(graph_inputs[name], GRAPH_INPUTS[name].dtype).reshape(-1)
            for name in self.graph_inputs
        }

    def outputs_of(self, outputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Pick this graph's outputs for one image.

        Raises:
            InputError: saying what was expected and what was given.
        """
        lengths: dict[str, int] = {}
        own = {}
        for wanted in self.outputs:
            assert wanted.name is not None
            given = outputs.get(wanted.name)
            if given is None or not wanted.fits(given.dtype, given.shape, lengths):
                raise InputError(
                    f"postprocess takes the outputs of one image, {_listed(self.outputs)}, but "
                    f"was given { ({name: value.shape for name, value in outputs.items()}) }; "
                    "slice a larger batch with outputs[i:i + 1]"
                )
            own[wanted.name] = given
        return own


def check_signature(
    session: Session, spec: ModelSpec, head: Head, wanted: Sequence[Output]
) -> Signature:
    """Compare a graph's inputs and outputs with its spec.

    Args:
        session: the loaded graph.
        spec: what describes it.
        head: the spec's head.
        wanted: what a graph of this head must answer.

    Raises:
        SpecError: if the graph does not take one float32 image of the spec's size, or does not
            answer what the spec's head reads.
    """
    image, graph_inputs = _inputs(session, spec, head)
    lengths: dict[str, int] = {}
    by_name = {output.name: output for output in session.outputs}
    found = []
    for output in wanted:
        info = by_name.get(output.name) if output.name else next(iter(session.outputs), None)
        if info is None or not output.fits(info.dtype, info.shape, lengths):
            break
        found.append(Output(info.name, output.kinds, output.dtype, output.shape))
    if not len(found) == len(wanted) == len(session.outputs):
        given = ", ".join(map(str, session.outputs)) or "none"
        raise SpecError(
            f"the spec of {spec.name!r} has {len(spec.class_names)} class names and describes the "
            f"outputs {_listed(wanted)}; the graph's outputs: {given}. Correct the spec's "
            "class_names or head, or export the model again"
        )
    return Signature(image, graph_inputs, tuple(found))


def _listed(outputs: Sequence[Output]) -> str:
    return ", ".join(map(str, outputs))


def _inputs(session: Session, spec: ModelSpec, head: Head) -> tuple[str, tuple[str, ...]]:
    """Names of the image input and of the others."""
    wanted = np.broadcast_to(np.float32(0), (1, 3, *spec.input.size))
    known = [GRAPH_INPUTS[name] for name in head.takes]
    others = tuple(info.name for info in session.inputs if info in known)
    images = [info for info in session.inputs if info not in known]
    if len(images) != 1 or not images[0].accepts(wanted):
        given = ", ".join(map(str, session.inputs)) or "none"
        raise SpecError(
            f"the spec of {spec.name!r} describes one input float32 {wanted.shape}; the graph's "
            f"inputs: {given}. Correct the spec's input size, or export the model again"
        )
    return images[0].name, others


def check_graph_inputs(given: Mapping[str, object]) -> None:
    """Refuse names of inputs that no graph has.

    Raises:
        InputError: naming the first one and those that there are.
    """
    for name in given:
        if name not in GRAPH_INPUTS:
            raise InputError(
                f"no graph has an input {name!r} besides the image"
                f"{suggestion(name, GRAPH_INPUTS)}; some have {', '.join(GRAPH_INPUTS)}"
            )


def floats(name: str | None, *shape: int | str) -> Output:
    """Describe a float32 output of this name and shape."""
    return Output(name, "f", "float32", shape)
