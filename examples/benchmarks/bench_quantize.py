"""How much faster a quantized file runs than the float32 file it was made of.

Both run in turn in one process, on the same runtime with the same threads. `best` divides the
better runtime's time with the float32 file by the better runtime's time with the quantized one.

python bench_quantize.py FLOAT32.onnx INT8.onnx [FLOAT32.onnx INT8.onnx ...] [--runs N]
"""

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np

from edgevit.core.runtime.protocols import Session
from edgevit.core.runtime.registry import get_backend

BACKENDS = ("onnxruntime", "openvino")


def medians_ms(sessions: list[Session], count: int) -> list[float]:
    """Median milliseconds of each, taken in turn; each is timed straight after a run of its own."""
    generator = np.random.default_rng(0)
    (info,) = sessions[0].inputs
    shape = [side or 1 for side in info.shape]
    feeds = {info.name: generator.standard_normal(shape, np.float32)}
    times: list[list[float]] = [[] for _ in sessions]
    for _ in range(count + 3):
        for session, spent in zip(sessions, times, strict=True):
            session.run(feeds)
            started = perf_counter()
            session.run(feeds)
            spent.append(1e3 * (perf_counter() - started))
    return [float(np.median(spent[3:])) for spent in times]


def main() -> None:
    """Print a line for each pair and runtime."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=30)
    arguments = parser.parse_args()
    if len(arguments.files) % 2:
        parser.error("files come in pairs: FLOAT32.onnx INT8.onnx")
    print("file                          runtime       float32 ms  int8 ms  ratio")
    for before, after in zip(arguments.files[::2], arguments.files[1::2], strict=True):
        found = []
        for name in BACKENDS:
            options: dict[str, object] = {"threads": arguments.threads}
            backend = get_backend(name)
            sessions = [
                backend.load(file, device="cpu", options=options) for file in (before, after)
            ]
            found.append(medians_ms(sessions, arguments.runs))
            for session in sessions:
                session.close()
            times = f"{found[-1][0]:10.2f} {found[-1][1]:8.2f} {found[-1][0] / found[-1][1]:6.2f}"
            print(f"{after.name:29} {name:13} {times}", flush=True)
        floats, integers = np.array(found).min(axis=0)
        print(
            f"{after.name:29} best          {floats:10.2f} {integers:8.2f} {floats / integers:6.2f}"
        )


if __name__ == "__main__":
    main()
