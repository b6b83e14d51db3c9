"""Does a loaded graph fit the spec that describes it?"""

from __future__ import annotations

import numpy as np

from edgevit.core.backend import Session
from edgevit.core.errors import SpecError
from edgevit.core.spec import ModelSpec


def check_signature(session: Session, spec: ModelSpec) -> tuple[str, str]:
    """Compare a graph's inputs and outputs with its spec.

    Args:
        session: the loaded graph.
        spec: what describes it.

    Returns:
        Names of the image input and of the logits output.

    Raises:
        SpecError: if the task has no head in this release, or the graph does not take one float32
            image of the spec's size, or does not answer one logit for each of its classes.
    """
    if spec.task != "classify":
        raise SpecError(
            f"{spec.name!r} is a model for {spec.task}; this release answers classify models only"
        )
    return _image_input(session, spec), _logits_output(session, spec)


def _image_input(session: Session, spec: ModelSpec) -> str:
    wanted = np.broadcast_to(np.float32(0), (1, 3, *spec.input.size))
    if len(session.inputs) != 1 or not session.inputs[0].accepts(wanted):
        given = ", ".join(map(str, session.inputs)) or "none"
        raise SpecError(
            f"the spec of {spec.name!r} describes one input float32 {wanted.shape}; the graph's "
            f"inputs: {given}. Correct the spec's input size, or export the model again"
        )
    return session.inputs[0].name


def _logits_output(session: Session, spec: ModelSpec) -> str:
    wanted = np.broadcast_to(np.float32(0), (1, len(spec.class_names)))
    if len(session.outputs) != 1 or not session.outputs[0].accepts(wanted):
        given = ", ".join(map(str, session.outputs)) or "none"
        raise SpecError(
            f"the spec of {spec.name!r} has {wanted.shape[1]} class names, so one output float32 "
            f"{wanted.shape}; the graph's outputs: {given}. Correct class_names, or export the "
            "model again"
        )
    return session.outputs[0].name
