"""Does a loaded graph, and what it answers, fit the spec that describes it?

Besides the image, the graph of a `BoxHead` may take, where it can use them, by input name:

- `image_size` float32 (2,): the (height, width) in pixels that the picture fills of the network
  input, at its upper left; what is beyond is padding.
- `score_threshold` float32 (1,): detections that do not have a greater score are not wanted.
- `max_masks` int64 (1,): how many candidates need masks, the first ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevit.core.model.heads import AnchorHead, BoxHead, ClassHead, Head, MapHead
from edgevit.core.model.spec import ModelSpec
from edgevit.core.runtime.protocols import AnyArray, Session, TensorInfo
from edgevit.errors import InputError, SpecError

SETTINGS = (
    TensorInfo("image_size", np.dtype(np.float32), (2,)),
    TensorInfo("score_threshold", np.dtype(np.float32), (1,)),
    TensorInfo("max_masks", np.dtype(np.int64), (1,)),
)
ALL_MASKS = 2**30  # more than any graph has; runtimes may keep numbers in 32 bits


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
        settings: names of the other inputs.
        outputs: what it must answer, with the graph's names.
    """

    input: str
    settings: tuple[str, ...]
    outputs: tuple[Output, ...]

    def feeds(
        self,
        batch: AnyArray,
        *,
        image_size: tuple[int, int],
        score_threshold: float,
        masks: bool,
    ) -> dict[str, AnyArray]:
        """Pick what this graph takes.

        Args:
            batch: float32 (N, 3, height, width).
            image_size: (height, width) in pixels that the picture fills of it.
            score_threshold: 0-1; detections without a greater score are not wanted.
            masks: whether masks are wanted.
        """
        if not self.settings:
            return {self.input: batch}
        values: dict[str, AnyArray] = {
            "image_size": np.array(image_size, np.float32),
            "score_threshold": np.array([score_threshold], np.float32),
            "max_masks": np.array([ALL_MASKS if masks else 0], np.int64),
        }
        return {self.input: batch, **{name: values[name] for name in self.settings}}

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


def check_signature(session: Session, spec: ModelSpec, head: Head) -> Signature:
    """Compare a graph's inputs and outputs with its spec.

    Args:
        session: the loaded graph.
        spec: what describes it.
        head: the spec's head.

    Raises:
        SpecError: if the graph does not take one float32 image of the spec's size, or does not
            answer what the spec's head reads.
    """
    wanted = OUTPUTS[type(head)](spec, head)
    image, settings = _inputs(session, spec, head)
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
    return Signature(image, settings, tuple(found))


def _listed(outputs: Sequence[Output]) -> str:
    return ", ".join(map(str, outputs))


def _inputs(session: Session, spec: ModelSpec, head: Head) -> tuple[str, tuple[str, ...]]:
    """Names of the image input and of the others."""
    wanted = np.broadcast_to(np.float32(0), (1, 3, *spec.input.size))
    known = SETTINGS if isinstance(head, BoxHead) else ()
    settings = tuple(info.name for info in session.inputs if info in known)
    images = [info for info in session.inputs if info not in known]
    if len(images) != 1 or not images[0].accepts(wanted):
        given = ", ".join(map(str, session.inputs)) or "none"
        raise SpecError(
            f"the spec of {spec.name!r} describes one input float32 {wanted.shape}; the graph's "
            f"inputs: {given}. Correct the spec's input size, or export the model again"
        )
    return images[0].name, settings


def _logits(spec: ModelSpec, head: ClassHead) -> tuple[Output, ...]:
    return (_floats(None, 1, len(spec.class_names)),)


def _candidates(spec: ModelSpec, head: AnchorHead) -> tuple[Output, ...]:
    return (
        _floats("scores", 1, "K"),
        Output("indices", "i", "int64", (1, "K")),
        _floats("deltas", 1, "K", 4),
    )


def _boxes(spec: ModelSpec, head: BoxHead) -> tuple[Output, ...]:
    boxes = (
        _floats("boxes", 1, "K", 4),
        _floats("scores", 1, "K"),
        Output("class_ids", "i", "int64", (1, "K")),
    )
    return boxes if head.mask_threshold is None else (*boxes, _floats("masks", 1, "M", "m", "n"))


def _map(spec: ModelSpec, head: MapHead) -> tuple[Output, ...]:
    rows, columns = (-(-side // head.stride) for side in spec.input.size)
    if head.kind == "classes":
        return (Output("classes", "iu", "integer", (1, rows, columns)),)
    return (_floats("logits", 1, len(spec.class_names), rows, columns),)


def _floats(name: str | None, *shape: int | str) -> Output:
    return Output(name, "f", "float32", shape)


OUTPUTS: dict[type, Callable[..., tuple[Output, ...]]] = {
    ClassHead: _logits,
    AnchorHead: _candidates,
    BoxHead: _boxes,
    MapHead: _map,
}
