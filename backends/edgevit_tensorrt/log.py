"""What TensorRT says, kept for error messages and passed on to `logging`.

There is one log for the process: TensorRT keeps the first it is given, also for later engines.
"""

import logging
from collections import deque
from functools import cache
from threading import Lock, get_ident
from typing import Any

import tensorrt as trt

logger = logging.getLogger(__name__)


class Log(trt.ILogger):
    """Receives TensorRT's messages, from any of its threads.

    Its errors are kept by thread, for whoever reports the failure; warnings are INFO here, because
    TensorRT warns about a lot that nobody can change.
    """

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._errors: deque[tuple[int, str]] = deque(maxlen=50)
        self._lock = Lock()

    def log(self, severity: Any, message: str) -> None:
        """Keep an error, and pass anything else but VERBOSE on; TensorRT calls this."""
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            with self._lock:
                self._errors.append((get_ident(), message))
        elif severity == trt.ILogger.Severity.WARNING:
            logger.info("TensorRT: %s", message)
        elif severity == trt.ILogger.Severity.INFO:  # VERBOSE is thousands of lines
            logger.debug("TensorRT: %s", message)

    def take_errors(self, *, of_all_threads: bool = False) -> list[str]:
        """Say what went wrong since this was asked last, first cause first.

        Args:
            of_all_threads: also on TensorRT's own threads, as when it builds.
        """
        with self._lock:
            kept = list(self._errors)
            mine = [entry for entry in kept if of_all_threads or entry[0] == get_ident()]
            self._errors.clear()
            self._errors.extend(entry for entry in kept if entry not in mine)
        return [message for _, message in mine]

    def reason(self, otherwise: str) -> str:
        """Join this thread's errors into one text and forget them; `otherwise` if it has none."""
        return " ".join(self.take_errors()) or otherwise


@cache
def the_log() -> Log:
    """The one log of this process; TensorRT keeps the first that it is given."""
    return Log()
