"""How much faster the exported deploy form runs than a plain `torch.onnx.export` of the model.

Both run in turn in one process, on the same runtime with the same threads. The plain file is of
opset 17 from PyTorch's TorchScript exporter, and has the official code's forward pass
(`plain/`); the newer exporter's files run slower still. `limit` is the ratio that would be
left if the plain file's convolutions, matrix products and the like took their time and all its
other nodes took none, by the runtime's own profile: only faster kernels or less arithmetic pass it.
Detectors' and segmenters' plain files end as the deploy form does: in the best candidates, or in
the best class.

python bench_export.py [--variants NAME ...] [--input-size N] [--runs N]
"""

import argparse
import io
import json
import warnings
from collections.abc import Callable, Iterable
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from plain import lightvit, litv2
from torch import nn

from edgevit import models
from edgevit.export.deploy import deploy
from edgevit.export.heads import HEADS
from edgevit.export.heads.base import GraphHead
from edgevit.export.trace import graph_from_module
from edgevit.models import cas_vit
from edgevit.models.retinanet import RetinaNet
from edgevit.models.semantic_fpn import SemanticFPN
from edgevit.models.variants import find_definition

Batch = NDArray[np.float32]
Run = Callable[[Batch], object]

DENSE = (RetinaNet, SemanticFPN)
PLAIN = {"lightvit": lightvit.plain, "litv2": litv2.plain}  # our CAS-ViT has the official forward

# Node types that a graph of the same arithmetic needs in any form. OpenVINO counts what it fuses
# with the first of them.
ARITHMETIC = {
    "onnxruntime": {"Conv", "MatMul", "FusedMatMul", "Gemm", "Gelu", "BiasGelu", "Softmax"}
    | {"LayerNormalization", "SkipLayerNormalization"},
    "openvino": {"Convolution", "GroupConvolution", "MatMul", "FullyConnected", "Softmax", "MVN"}
    | {"ScaledDotProductAttention"},
}


def plain_file(
    model: nn.Module, family: str, graph_head: GraphHead, size: tuple[int, int]
) -> bytes:
    """What `torch.onnx.export` makes of the official forward pass."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is deprecated
        module = graph_head.attach(with_official_forward(deepcopy(model), family)).eval()
        example = torch.zeros(1, 3, *size)
        torch.onnx.export(module, (example,), file, opset_version=17, dynamo=False)
    return file.getvalue()


def with_official_forward(model: nn.Module, family: str) -> nn.Module:
    """The model, or a detector's or segmenter's backbone, with the operations of upstream."""
    if family not in PLAIN:
        return model
    if isinstance(model, DENSE):
        model.backbone = PLAIN[family](model.backbone)
        return model
    return PLAIN[family](model)


class OnnxRuntime:
    """A file in ONNX Runtime, set up as edgevit sets it up."""

    def __init__(self, model: bytes, threads: int, profile: Path | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.enable_profiling = profile is not None
        options.profile_file_prefix = str(profile)
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(model, options, providers=providers)
        self.input = self.session.get_inputs()[0].name

    def __call__(self, batch: Batch) -> object:
        """Run it."""
        return self.session.run(None, {self.input: batch})

    @classmethod
    def node_times(cls, model: bytes, threads: int, batch: Batch, runs: int) -> list[list[object]]:
        """(node, type, time) of every node in every run."""
        with TemporaryDirectory() as folder:
            runtime = cls(model, threads, profile=Path(folder) / "profile")
            for _ in range(runs):
                runtime(batch)
            events = json.loads(Path(runtime.session.end_profiling()).read_text())
        kernels = [event for event in events if event["name"].endswith("_kernel_time")]
        return [[event["name"], event["args"]["op_name"], event["dur"]] for event in kernels]


class OpenVINO:
    """A file in OpenVINO, set up as edgevit sets it up."""

    def __init__(self, model: bytes, threads: int, profile: bool = False) -> None:
        import openvino

        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERF_COUNT": profile,
        }
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(model), "CPU", config)
        self.request = compiled.create_infer_request()

    def __call__(self, batch: Batch) -> object:
        """Run it."""
        return self.request.infer([batch])

    @classmethod
    def node_times(cls, model: bytes, threads: int, batch: Batch, runs: int) -> list[list[object]]:
        """(node, type, time) of every node in every run."""
        runtime = cls(model, threads, profile=True)
        compiled = runtime.request.get_compiled_model()
        products = _fused_products(compiled.get_runtime_model())
        rows: list[list[object]] = []
        for _ in range(runs):
            runtime(batch)
            rows += [
                [
                    node.node_name,
                    products.get(node.node_name, node.node_type),
                    node.real_time.total_seconds(),
                ]
                for node in runtime.request.get_profiling_info()
            ]
        return rows


def _fused_products(graph: Any) -> dict[str, str]:
    """Names of OpenVINO's fused subgraphs that hold a matrix product, all as `MatMul`.

    Attention is one such subgraph: its products are arithmetic like any other.
    """
    facts = {node.get_friendly_name(): node.get_rt_info() for node in graph.get_ordered_ops()}
    return {
        name: "MatMul"
        for name, info in facts.items()
        if info["layerType"].astype(str) == "Subgraph"
        and "matmul" in info["originalLayersNames"].astype(str).lower()
    }


RUNTIMES = {"onnxruntime": OnnxRuntime, "openvino": OpenVINO}


def limit(runtime: str, model: bytes, threads: int, batch: Batch, runs: int) -> float:
    """All nodes' time over that of the arithmetic, medians of the nodes over the runs."""
    times: dict[tuple[object, object], list[object]] = {}
    for name, kind, spent in RUNTIMES[runtime].node_times(model, threads, batch, runs):
        times.setdefault((name, kind), []).append(spent)
    medians = {key: float(np.median(spent)) for key, spent in times.items()}
    needed = sum(spent for (_, kind), spent in medians.items() if kind in ARITHMETIC[runtime])
    return sum(medians.values()) / needed


def medians_ms(runs: Iterable[Run], batch: Batch, count: int) -> list[float]:
    """Median milliseconds of each, taken in turn; each is timed straight after a run of its own."""
    times: dict[Run, list[float]] = {run: [] for run in runs}
    for _ in range(count + 5):
        for run, spent in times.items():
            run(batch)
            started = perf_counter()
            run(batch)
            spent.append(1e3 * (perf_counter() - started))
    return [float(np.median(spent[5:])) for spent in times.values()]


def main() -> None:
    """Print a line for each variant and runtime, and the geometric means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", nargs="+", default=list(cas_vit.CONFIGS))
    parser.add_argument("--input-size", type=int, help="default: the variant's own")
    parser.add_argument("--num-classes", type=int, help="default: the official data set's")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=60)
    arguments = parser.parse_args()
    threads, side = arguments.threads, arguments.input_size
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in RUNTIMES if find_spec(name)}
    print("variant                 runtime       plain ms  deploy ms  ratio  limit")
    for variant in arguments.variants:
        definition = find_definition(variant)
        size = definition.input_size if side is None else (side, side)
        batch = np.random.default_rng(0).standard_normal((1, 3, *size), np.float32)
        model = models.create(variant, arguments.num_classes).eval()
        graph_head = HEADS[definition.head].graph_head(model, size, None)
        deployed = graph_head.attach(deploy(model, size)).eval()
        graph = graph_from_module(deployed, size, outputs=graph_head.outputs)
        plain_model = plain_file(model, definition.family, graph_head, size)
        files = plain_model, graph.SerializeToString()
        for name, found in rows.items():
            runs = [RUNTIMES[name](file, threads) for file in files]
            plain, ours = medians_ms(runs, batch, arguments.runs)
            found.append((plain / ours, limit(name, files[0], threads, batch, arguments.runs)))
            times = f"{plain:9.2f} {ours:10.2f} {found[-1][0]:6.3f} {found[-1][1]:6.3f}"
            print(f"{variant:23} {name:12} {times}", flush=True)
    for name, found in rows.items():
        ratio, most = np.exp(np.log(found).mean(axis=0))
        print(f"geometric mean          {name:12} {ratio:27.3f} {most:6.3f}")


if __name__ == "__main__":
    main()
