"""A large matrix product, run beside the models: the rate that the machine's arithmetic reaches."""

import logging
from pathlib import Path
from time import perf_counter

import numpy as np

from edgevit.benchmark.report import Arithmetic
from edgevit.core.model.metadata import read_multiply_adds
from edgevit.core.runtime.protocols import Session
from edgevit.core.runtime.registry import get_backend
from edgevit.errors import BackendError

logger = logging.getLogger(__name__)

# A square float32 matrix product, large enough to show the rate of the machine's arithmetic;
# tests/data/make_matmul.py makes the file.
MATMUL = Path(__file__).parents[1] / "assets" / "matmul.onnx"
MATMUL_SIDE = 1024


class MatrixProduct:
    """The product on one backend, device and number of threads."""

    def __init__(self, backend: str, device: str, threads: int | None) -> None:
        """Load it; a runtime that refuses it just has no rate."""
        self._session = _load(backend, device, threads)
        self._times_s: list[float] = []
        generator = np.random.default_rng(0)
        self._feeds = {
            info.name: generator.standard_normal((MATMUL_SIDE, MATMUL_SIDE), np.float32)
            for info in (self._session.inputs if self._session else ())
        }

    def turn(self) -> None:
        """Time one run, straight after one of its own: that one finds the caches full of others."""
        if self._session is None:
            return
        self._session.run(self._feeds)
        started = perf_counter()
        self._session.run(self._feeds)
        self._times_s.append(perf_counter() - started)

    def arithmetic(self, model: Path, runtime_ms: float) -> Arithmetic:
        """Compare a model's rate of arithmetic with the product's.

        Args:
            model: the ONNX file.
            runtime_ms: the median time of its session's bare run, in milliseconds.
        """
        counted = read_multiply_adds(model)
        gflop = None if counted is None else 2 * counted / 1e9
        rate = None if gflop is None else gflop / runtime_ms * 1e3
        matrix_rate = self._rate()
        share = None if rate is None or matrix_rate is None else rate / matrix_rate
        return Arithmetic(gflop, rate, matrix_rate, share)

    def close(self) -> None:
        """Close the session that multiplies, if the runtime has one."""
        if self._session is not None:
            self._session.close()

    def _rate(self) -> float | None:
        if not self._times_s:
            return None
        return 2 * MATMUL_SIDE**3 / float(np.median(self._times_s)) / 1e9


def _load(backend: str, device: str, threads: int | None) -> Session | None:
    options = {} if threads is None else {"threads": threads}
    try:
        return get_backend(backend).load(MATMUL, device=device, options=options)
    except BackendError as exc:  # a third party's runtime may know the operators of its models only
        logger.info("backend %s runs no plain matrix product: %s", backend, exc)
        return None
