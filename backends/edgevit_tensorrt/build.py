"""The child process that builds an engine: `python -m edgevit_tensorrt.build`.

It reads one line of JSON from its standard input, the Request, and writes one line for each event
to its standard output. Building is done here because it may take all memory, crash, or be killed.
When the standard input ends, the parent is gone, and so goes the child.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from edgevit.backend import read_io_types
from edgevit.errors import EdgeVitError
from edgevit_tensorrt import probe
from edgevit_tensorrt.buffers import CudaError
from edgevit_tensorrt.request import RefusedError, Request

Emit = Callable[[Mapping[str, Any]], None]


def main() -> None:
    """Read one Request from the standard input, build its engine, and report how that ended."""
    emit = _events()
    request = Request(**json.loads(sys.stdin.readline()))
    Thread(target=_die_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.DEBUG, handlers=[_Passing(emit)])
    try:
        driver = probe.start()
        with driver.open(request.gpu).active():
            emit({"event": "done", **_build(request, emit)})
    except (RefusedError, EdgeVitError, ImportError, CudaError) as exc:
        emit({"event": "refused", "reason": str(exc)})


def _events() -> Emit:
    """Keep the standard output for events; whatever else is printed goes to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    turn = Lock()  # TensorRT's threads report too

    def emit(event: Mapping[str, Any]) -> None:
        with turn:
            out.write(json.dumps(event) + "\n")
            out.flush()

    return emit


class _Passing(logging.Handler):
    """Sends log records to the parent, as events of a line each."""

    def __init__(self, emit: Emit) -> None:
        super().__init__()
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        self._emit({"event": "log", "level": record.levelno, "message": record.getMessage()})


def _die_with_parent() -> None:
    while os.read(0, 4096):  # not sys.stdin: a thread that waits in it disturbs a normal exit
        pass
    os._exit(1)


def _build(request: Request, emit: Emit) -> dict[str, Any]:
    import tensorrt as trt  # after CUDA has answered

    from edgevit_tensorrt import network as graph
    from edgevit_tensorrt.log import the_log

    log = the_log()
    builder = trt.Builder(log)
    builder.max_threads = request.threads
    network, is_strongly_typed = graph.parse(builder, request, log)
    config = graph.configure(builder, request)
    if not is_strongly_typed:
        graph.allow_types_of(network, config)
    profiles = graph.add_profiles(builder, network, config, request.build["profiles"])
    described = graph.describe(network, read_io_types(Path(request.model)))
    if request.dla is not None:
        graph.check_dla(network, config)
    timing = graph.use_timing_cache(config, request.timing_cache)
    if hasattr(trt, "IProgressMonitor"):
        from edgevit_tensorrt.progress import Progress

        monitor = Progress(emit)  # must live as long as the configuration
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RefusedError(" ".join(log.take_errors(of_all_threads=True)) or "no reason given")
    Path(request.plan).write_bytes(memoryview(plan))
    Path(request.measured).write_bytes(memoryview(timing.serialize()))
    return {**described, "profiles": profiles}


if __name__ == "__main__":
    main()
