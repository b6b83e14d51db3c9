"""What the parent asks of the child process that builds an engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LARGEST_BATCH = 8  # of the engine that a graph with a free batch axis gets first


class RefusedError(Exception):
    """The model cannot be built; the message says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """What shall be built.

    Args:
        model: path of the ONNX file.
        gpu: index of the GPU.
        dla: index of the DLA core; None for the GPU.
        threads: processor threads.
        build: `edgevit_tensorrt.options.BuildOptions` as JSON values.
        timing_cache: file with times that were measured before; None where there is none.
        plan: where to write the engine.
        measured: where to write the times for the next build.
    """

    model: str
    gpu: int
    dla: int | None
    threads: int
    build: Mapping[str, Any]
    timing_cache: str | None
    plan: str
    measured: str
