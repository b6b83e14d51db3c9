"""A new process with one model: its first answer, and its memory."""

import json
import subprocess
import sys
from dataclasses import dataclass
from tempfile import TemporaryFile
from time import perf_counter
from typing import IO

from edgevit.errors import EdgeVitError
from edgevit.predictor import Predictor

# Nothing but the Predictor is imported before the answer.
PROGRAM = """
import json, sys, numpy, edgevit
arguments, shape, predictions = json.loads(sys.argv[1])
predictor, image = edgevit.Predictor(**arguments), numpy.full(shape, 90, numpy.uint8)
predictor(image)
print(flush=True)
from edgevit.core.machine.memory import peak_resident_mib, resident_mib
for _ in range(min(5, predictions)):  # buffers are made in the first ones
    predictor(image)
before = resident_mib()
for _ in range(predictions):
    predictor(image)
after = resident_mib()
print(json.dumps([after, peak_resident_mib(), None if after is None else after - before]))
"""


@dataclass(frozen=True, slots=True)
class Start:
    """How a new process came up.

    Args:
        first_answer_ms: from its start to its first answer, in milliseconds.
        rss_mib: its resident memory after all predictions; None where it is not known.
        rss_peak_mib: the largest until then; None as `rss_mib`.
        rss_growth_mib: what came to it after the first predictions; None as `rss_mib`.
    """

    first_answer_ms: float
    rss_mib: float | None
    rss_peak_mib: float | None
    rss_growth_mib: float | None


def start(
    predictor: Predictor, image_size: tuple[int, int], threads: int | None, predictions: int
) -> Start:
    """Load what a predictor has loaded in a new process, and let it answer.

    Args:
        predictor: names the model, backend, device and preprocessing to use.
        image_size: (height, width) of the image in pixels.
        threads: threads of one run; None for the default.
        predictions: how many follow the first answer.

    Raises:
        EdgeVitError: if the process fails.
    """
    arguments = {
        "model": str(predictor.path),
        "backend": predictor.backend,
        "device": predictor.device,
        "threads": threads,
        "preprocess": predictor.preprocess_mode,
    }
    job = json.dumps([arguments, [*image_size, 3], predictions])
    with TemporaryFile("w+") as complaints:
        return _run([sys.executable, "-c", PROGRAM, job], complaints)


def _run(command: list[str], complaints: IO[str]) -> Start:
    started = perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            answered = perf_counter()
            memory = process.stdout.read()
        except BaseException:  # an interrupt: the process must not go on alone
            process.kill()
            raise
    if process.returncode != 0:
        complaints.seek(0)
        *_, reason = ["no reason given", *complaints.read().splitlines()]  # a traceback's last line
        raise EdgeVitError(f"a new process could not answer: {reason}")
    return Start(1e3 * (answered - started), *json.loads(memory))
