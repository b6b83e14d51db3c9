"""How much faster the exported deploy form runs than a plain `torch.onnx.export` of the module.

Both run in turn in one process, on the same runtime with the same threads. The plain file is of
opset 17 from PyTorch's TorchScript exporter; the newer one's runs slower still.

python examples/bench_export.py [--variants NAME ...] [--input-size N] [--runs N]
"""

import argparse
import io
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgevit import models
from edgevit.export.deploy import deploy
from edgevit.export.onnx import graph_from_module
from edgevit.models import cas_vit

Run = Callable[[NDArray[np.float32]], object]


def plain_file(model: nn.Module, size: tuple[int, int]) -> bytes:
    """What `torch.onnx.export` makes of the module as it stands."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is deprecated
        torch.onnx.export(model, (torch.zeros(1, 3, *size),), file, opset_version=17, dynamo=False)
    return file.getvalue()


def onnxruntime_run(model: bytes, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")  # as edgevit does
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})


def openvino_run(model: bytes, threads: int) -> Run:
    import openvino

    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    core = openvino.Core()
    request = core.compile_model(core.read_model(model), "CPU", config).create_infer_request()
    return lambda batch: request.infer([batch])


RUNTIMES = {"onnxruntime": onnxruntime_run, "openvino": openvino_run}


def medians_ms(runs: list[Run], batch: NDArray[np.float32], count: int) -> list[float]:
    """Median milliseconds of each, taken in turn; each is timed straight after a run of its own."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(count + 5):
        for run, spent in zip(runs, times, strict=True):
            run(batch)
            started = perf_counter()
            run(batch)
            spent.append(1e3 * (perf_counter() - started))
    return [float(np.median(spent[5:])) for spent in times]


def main() -> None:
    """Print a line for each variant and runtime, and the geometric means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", nargs="+", default=list(cas_vit.CONFIGS))
    parser.add_argument("--input-size", type=int, default=224)
    parser.add_argument("--num-classes", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=60)
    arguments = parser.parse_args()
    size = (arguments.input_size, arguments.input_size)
    batch = np.random.default_rng(0).standard_normal((1, 3, *size), np.float32)
    ratios: dict[str, list[float]] = {name: [] for name in RUNTIMES if find_spec(name)}
    print("variant          runtime       plain ms  deploy ms  ratio")
    for variant in arguments.variants:
        model = models.create(variant, arguments.num_classes).eval()
        graph = graph_from_module(deploy(model, size), size)
        files = (plain_file(model, size), graph.SerializeToString())
        for name, values in ratios.items():
            runs = [RUNTIMES[name](file, arguments.threads) for file in files]
            plain, ours = medians_ms(runs, batch, arguments.runs)
            values.append(plain / ours)
            print(f"{variant:16} {name:12} {plain:9.2f} {ours:10.2f} {values[-1]:6.3f}", flush=True)
    for name, values in ratios.items():
        print(f"geometric mean   {name:12} {float(np.exp(np.mean(np.log(values)))):27.3f}")


if __name__ == "__main__":
    main()
