"""Measure candidates in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

from edgevit.errors import EdgeVitError, InferenceError
from edgevit.tune.candidate import Candidate
from edgevit.tune.measurement import Sample

PROGRAM = "from edgevit.tune.worker import main; main()"
SHOWN = 300  # characters of a dead process's last words


@dataclass(frozen=True, slots=True)
class Images:
    """What candidates predict while they are measured.

    Args:
        paths: image files.
        size: (height, width) to stretch them to; None to keep their own.
    """

    paths: tuple[Path, ...]
    size: tuple[int, int] | None = None


class Measurer:
    """Runs candidates in child processes, one at a time; the others wait idle.

    Until `isolate`, candidates of one backend share a process, so that few are started and a
    session is loaded once for its preprocessing modes. It is a context manager that ends the
    processes.
    """

    def __init__(
        self,
        images: Images,
        *,
        mapped: bool = False,
        timeout_s: float = 120,
        spare: int = 0,
    ) -> None:
        """Start processes ahead.

        Args:
            images: what is predicted.
            mapped: measure with `Predictor.map` instead of one by one.
            timeout_s: seconds that loading and one turn of a candidate may take.
            spare: how many processes to start now, so that they are ready when they are needed.
        """
        self._images = images
        self._mode = "map" if mapped else "each"
        self._timeout_s = timeout_s
        self._processes: dict[object, WorkerProcess] = {}
        self._is_isolated = False
        self._spare = [WorkerProcess(images) for _ in range(spare)]

    def measure(self, candidate: Candidate, runs: int) -> Sample:
        """Predict `runs` times.

        Raises:
            EdgeVitError: if the candidate cannot be loaded or run, takes too long, or ends its
                process.
        """
        for process in self._spare:  # one that is still starting would disturb
            process.wait_until_ready(self._timeout_s)
        key = self._key(candidate)
        if key not in self._processes:
            self._processes[key] = self._spare.pop() if self._spare else WorkerProcess(self._images)
        request = {
            "path": str(candidate.file.path),
            "arguments": candidate.arguments,
            "runs": runs,
            "mode": self._mode,
        }
        try:
            answer = self._processes[key].ask(request, self._timeout_s)
        except ProcessEndedError:
            self._processes.pop(key).close()
            raise
        if "error" in answer:
            raise InferenceError(answer["error"])
        rss = answer["rss_mib"] if self._is_isolated else None
        times = tuple(answer["times_ms"])
        return Sample(times, answer["cpu_ms"], answer["images_per_s"], rss)

    def isolate(self, finalists: Sequence[Candidate]) -> None:
        """End the shared processes; every candidate gets its own from now on."""
        self._end_used()
        self._is_isolated = True

    def close(self) -> None:
        """End all processes."""
        self._end_used()
        while self._spare:
            self._spare.pop().close()

    def __enter__(self) -> Measurer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end_used(self) -> None:
        for process in self._processes.values():
            process.close()
        self._processes.clear()

    def _key(self, candidate: Candidate) -> object:
        return candidate if self._is_isolated else (candidate.backend, candidate.device)


class ProcessEndedError(EdgeVitError):
    """A measuring process is gone; the next request needs a new one."""


class WorkerProcess:
    """A Python process that measures candidates, by a line of JSON for each request and answer."""

    def __init__(self, images: Images) -> None:
        """Start the process without waiting for it; it loads the images meanwhile."""
        # Closed with the process; a pipe would fill up.
        self._words = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            encoding="utf-8",
            start_new_session=True,  # an interrupt of the terminal is for the parent alone
        )
        self._images = images
        self._is_ready = False

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            ProcessEndedError: if the process ends instead, or takes longer than `timeout_s`.
        """
        self.wait_until_ready(timeout_s)
        return self._ask(request, timeout_s)

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait until it has loaded the images.

        Raises:
            ProcessEndedError: see `ask`.
        """
        if not self._is_ready:
            paths = [str(path) for path in self._images.paths]
            self._ask({"images": paths, "size": self._images.size}, timeout_s)
            self._is_ready = True

    def _ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        timer = Timer(timeout_s, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:  # it ended before it read the request
            answer = ""
        finally:
            is_late = not timer.is_alive()
            timer.cancel()
        if not answer:
            raise self._end(f"takes more than {timeout_s:g} s" if is_late else None)
        parsed: dict[str, Any] = json.loads(answer)
        return parsed

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        with suppress(BrokenPipeError):  # what it did not read is not for anybody
            self._process.stdin.close()
        self._words.close()

    def _end(self, reason: str | None) -> ProcessEndedError:
        code = self._process.wait()
        self._words.seek(0)
        words = self._words.read().strip()[-SHOWN:]
        said = f", saying: {words}" if words else ""
        return ProcessEndedError(reason or f"its process ended with code {code}{said}")
