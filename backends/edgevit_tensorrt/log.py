"""What TensorRT says, kept for error messages and passed on to `logging`."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

import tensorrt as trt

logger = logging.getLogger(__name__)


class Log(trt.ILogger):
    """Receives TensorRT's messages, from any of its threads.

    Its errors are kept, for whoever reports the failure; warnings are INFO here, because TensorRT
    warns about a lot that nobody can change.
    """

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._errors: deque[str] = deque(maxlen=20)

    def log(self, severity: Any, message: str) -> None:
        """Take one message."""
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self._errors.append(message)
        elif severity == trt.ILogger.Severity.WARNING:
            logger.info("TensorRT: %s", message)
        else:
            logger.debug("TensorRT: %s", message)

    def take_errors(self) -> list[str]:
        """Say what went wrong since this was asked last, first cause first."""
        taken = list(self._errors)
        self._errors.clear()
        return taken


def reason(log: Log, otherwise: str) -> str:
    """Put the kept errors into one text."""
    return " ".join(log.take_errors()) or otherwise
