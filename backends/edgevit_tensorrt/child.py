"""Runs the child process that builds an engine, and tells how it goes."""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

from edgevit.backend import write_atomically
from edgevit.errors import LoadError
from edgevit_tensorrt.request import Request

GRACE_S = 5.0  # for a child that was told to end
NEWS_S = 10.0  # how often progress is logged

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Built:
    """A built engine.

    Args:
        plan: what TensorRT serialized.
        described: `inputs`, `outputs` and `profiles`, as JSON values.
    """

    plan: bytes
    described: Mapping[str, Any]


def build(request: Request, timing_cache: Path | None) -> Built:
    """Build an engine in a child process.

    An interruption (Ctrl-C, or whatever else is raised meanwhile) ends the child and leaves nothing
    behind. A child that crashes or is killed is an error like any other.

    Args:
        request: what shall be built; its `plan`, `timing_cache` and `measured` are filled in here.
        timing_cache: file that keeps measured times from build to build; None to keep none.

    Raises:
        LoadError: if TensorRT refuses the model, or the child dies.
    """
    with tempfile.TemporaryDirectory(prefix="edgevit-tensorrt-") as folder:
        plan, measured = Path(folder, "plan"), Path(folder, "timing")
        known = timing_cache if timing_cache is not None and timing_cache.is_file() else None
        request = replace(
            request,
            plan=str(plan),
            measured=str(measured),
            timing_cache=None if known is None else str(known),
        )
        described = _run(request, Path(folder, "errors"))
        if timing_cache is not None:
            _keep(measured.read_bytes(), timing_cache)
        return Built(plan.read_bytes(), described)


def _run(request: Request, errors: Path) -> Mapping[str, Any]:
    with errors.open("wb") as stderr:
        child = subprocess.Popen(
            [sys.executable, "-m", "edgevit_tensorrt.build"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=errors.parent,  # with -m, Python imports from there first: nobody's own modules
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C comes to us alone; we end the child
        )
    try:
        outcome = _follow(child, request)
        status = child.wait()
    finally:
        _end(child)
    if outcome is None:
        raise LoadError(_death(request, status, errors))
    if outcome["event"] == "refused":
        raise LoadError(f"TensorRT cannot load {request.model!r}: {outcome['reason']}")
    return outcome


def _follow(child: subprocess.Popen[str], request: Request) -> dict[str, Any] | None:
    """Send the request and log what comes until the child is done; None if it never is."""
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(json.dumps(asdict(request)) + "\n")
        child.stdin.flush()
    except BrokenPipeError:  # it died at once; how, its status tells
        return None
    with _news(Path(request.model).name) as progress:
        for line in child.stdout:
            event = json.loads(line)
            if event["event"] == "step":
                progress.update(event)
            elif event["event"] == "log":
                logger.log(event["level"], "%s", event["message"])
            else:
                return dict(event)
    return None


@contextmanager
def _news(name: str) -> Iterator[dict[str, Any]]:
    """Log every `NEWS_S` seconds how far the build is; what is known is put into the mapping."""
    progress: dict[str, Any] = {}
    is_over, started = Event(), monotonic()

    def tell() -> None:
        while not is_over.wait(NEWS_S):
            step = (
                "{phase}, step {step} of {steps}".format(**progress) if progress else "no details"
            )
            logger.info("building %s: %.0f s, %s", name, monotonic() - started, step)

    thread = Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield progress
    finally:
        is_over.set()
        thread.join()


def _end(child: subprocess.Popen[str]) -> None:
    """End a child that is still there, and close its pipes."""
    with child:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                child.kill()


def _death(request: Request, status: int, errors: Path) -> str:
    how = f"exit status {status}"
    if status < 0:
        how = f"signal {signal.Signals(-status).name}"
    advice = ""
    if status == -signal.SIGKILL:
        advice = "; Linux ends so what takes too much memory: pass a smaller option 'workspace'"
    last = errors.read_text("utf-8", "replace").strip().splitlines()[-1:]
    said = f". It said: {last[0]}" if last else ""
    return f"the builder of {request.model!r} died of {how}{advice}{said}"


def _keep(measured: bytes, timing_cache: Path) -> None:
    try:
        write_atomically(timing_cache, measured)
    except OSError as exc:
        logger.info("measured times are not kept: %s", exc)
