"""Compare attention layers, each exported alone: time, arithmetic and memory.

HiLo (arXiv:2205.13213), CATM of CAS-ViT (arXiv:2408.03703) and LightViT's attention
(arXiv:2207.05557) against plain attention, PVT's spatial reduction and Swin's windows. All layers
run in turn in one process, on every runtime, and are compared with HiLo of alpha 0.9.

Each layer takes and gives the layout natural to it: CATM a map (1, C, H, W), LightViT a sequence
(1, 16 global tokens + H*W, C), the others a map of tokens (1, H, W, C).

FLOPs are two for each multiply-add of linear layers, convolutions and matrix products. Memory is
what a new process grows by, in resident MiB, from before it loads the layer to after ten runs;
the runtime itself is there before.

python bench_attention.py [--shapes DIMxHEADSxSIDE ...] [--runs N] [--plot FILE.png]
"""

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from edgevit.backend import Session
from edgevit.core.runtime.registry import get_backend
from edgevit.export.deploy import deploy
from edgevit.export.operations import multiply_adds
from edgevit.export.trace import OPSET
from edgevit.models import lightvit
from edgevit.models.cas_vit import AdditiveTokenMixer
from edgevit.models.litv2 import HiLo, attend

GLOBAL_TOKENS = 16  # as LightViT-S has
OPTIONS: dict[str, dict[str, object]] = {"openvino": {"cache": False}}
MEMORY_PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from edgevit.core.machine.memory import resident_mib
from edgevit.core.runtime.registry import get_backend
from edgevit.testing.models import IDENTITY
def runs(path):
    options = json.loads(sys.argv[3])
    session = get_backend(sys.argv[2]).load(Path(path), device="cpu", options=options)
    feeds = {info.name: np.ones([n or 1 for n in info.shape], "f4") for info in session.inputs}
    for _ in range(10):
        session.run(feeds)
    return session
small = runs(IDENTITY.path)
before = resident_mib()
large = runs(sys.argv[1])
print(resident_mib() - before)
"""


class PlainAttention(nn.Module):
    """Every token attends to every token (arXiv:2010.11929)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, H, W, C)."""
        query, key, value = self.qkv(x.flatten(1, 2)).chunk(3, dim=-1)
        return self.proj(attend(query, key, value, self.num_heads)).reshape(x.shape)


class SpatialReductionAttention(nn.Module):
    """Every token attends to tokens merged by a strided convolution (PVT, arXiv:2102.12122)."""

    def __init__(self, dim: int, num_heads: int, ratio: int = 2) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.sr = nn.Conv2d(dim, dim, kernel_size=ratio, stride=ratio)
        self.norm = nn.LayerNorm(dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, H, W, C)."""
        merged = self.sr(x.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)  # (B, H/r * W/r, C)
        key, value = self.kv(self.norm(merged)).chunk(2, dim=-1)
        mixed = attend(self.q(x.flatten(1, 2)), key, value, self.num_heads)
        return self.proj(mixed).reshape(x.shape)


class WindowAttention(nn.Module):
    """Tokens attend to those of their window, by relative position (Swin, arXiv:2103.14030)."""

    def __init__(self, dim: int, num_heads: int, window: int = 7) -> None:
        super().__init__()
        self.num_heads, self.window = num_heads, window
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.table = nn.Parameter(torch.randn((2 * window - 1) ** 2, num_heads))
        self.register_buffer("index", lightvit.relative_position_index(window))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, H, W, C); the window divides H and W."""
        windows = lightvit.windows_from_map(x, self.window)  # (B * windows, N, C)
        count, area, _ = windows.shape
        qkv = self.qkv(windows).reshape(count, area, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B * windows, heads, N, C / heads) each
        bias = self.table[self.index].reshape(area, area, self.num_heads).permute(2, 0, 1)
        mixed = self.proj(lightvit.attend(query, key, value, bias))
        return lightvit.map_from_windows(mixed, self.window, (x.shape[1], x.shape[2]))


class OfOneSize(nn.Module):
    """LightViT's attention on a map of a fixed size, with random position biases."""

    def __init__(self, dim: int, num_heads: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.attention = lightvit.LightViTAttention(dim, num_heads, GLOBAL_TOKENS)
        nn.init.normal_(self.attention.relative_position_bias_table)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (B, global tokens + H * W, C)."""
        return self.attention(x, self.size)


@dataclass
class Candidate:
    """A layer, what it takes, and what was measured of it by runtime.

    Args:
        name: for the table.
        build: makes the layer for (dim, heads, size of the map).
        shape: gives the shape of its input for (dim, side).
    """

    name: str
    build: Callable[[int, int, tuple[int, int]], nn.Module]
    shape: Callable[[int, int], tuple[int, ...]] = lambda dim, side: (1, side, side, dim)
    mflop: float = 0
    latency_ms: dict[str, float] = field(default_factory=dict)
    memory_mib: dict[str, float] = field(default_factory=dict)


def candidates() -> list[Candidate]:
    """The layers of the comparison, the one that the others are compared with first."""
    return [
        Candidate("HiLo, alpha 0.9", lambda dim, heads, _: HiLo(dim, heads, alpha=0.9)),
        Candidate("HiLo, alpha 0.5", lambda dim, heads, _: HiLo(dim, heads, alpha=0.5)),
        Candidate("plain", lambda dim, heads, _: PlainAttention(dim, heads)),
        Candidate("spatial reduction", lambda dim, heads, _: SpatialReductionAttention(dim, heads)),
        Candidate("windows 7x7", lambda dim, heads, _: WindowAttention(dim, heads)),
        Candidate("LightViT", OfOneSize, lambda dim, side: (1, GLOBAL_TOKENS + side * side, dim)),
        Candidate(
            "CATM",
            lambda dim, heads, _: AdditiveTokenMixer(dim),
            lambda dim, side: (1, dim, side, side),
        ),
    ]


def export(layer: nn.Module, example: Tensor, path: Path) -> None:
    """Write the layer as ONNX."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of absent torchvision
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own deprecations inside its exporter
        torch.onnx.export(
            layer,
            (example,),
            path,
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )


def load(path: Path, backend: str, threads: int) -> Session:
    options = {"threads": threads, **OPTIONS.get(backend, {})}
    return get_backend(backend).load(path, device="cpu", options=options)


def medians_ms(runs: list[Callable[[], object]], count: int) -> list[float]:
    """Median milliseconds of each, taken in turn; each is timed straight after a run of its own."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(count + 3):
        for run, spent in zip(runs, times, strict=True):
            run()
            started = perf_counter()
            run()
            spent.append(1e3 * (perf_counter() - started))
    return [float(np.median(spent[3:])) for spent in times]


def memory_mib(path: Path, backend: str, threads: int) -> float:
    """What a new process grows by when it loads and runs the layer."""
    options = {"threads": threads, **OPTIONS.get(backend, {})}
    command = [sys.executable, "-c", MEMORY_PROGRAM, str(path), backend, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure(
    shape: tuple[int, int, int], backends: list[str], folder: Path, *, threads: int, runs: int
) -> list[Candidate]:
    """Measure every layer for (dim, heads, side) on every runtime."""
    dim, heads, side = shape
    layers = candidates()
    timed: list[tuple[Candidate, str, Callable[[], object]]] = []
    for number, layer in enumerate(layers):
        torch.manual_seed(0)
        module = layer.build(dim, heads, (side, side)).eval()
        example = torch.randn(layer.shape(dim, side))
        layer.mflop = 2 * multiply_adds(module, example) / 1e6
        path = folder / f"{number}_{dim}_{side}.onnx"
        export(deploy(module, (side, side)), example, path)
        for backend in backends:
            layer.memory_mib[backend] = memory_mib(path, backend, threads)
            session = load(path, backend, threads)
            feeds = {session.inputs[0].name: example.numpy()}
            timed.append((layer, backend, lambda s=session, f=feeds: s.run(f)))
    medians = medians_ms([run for _, _, run in timed], runs)
    for (layer, backend, _), median in zip(timed, medians, strict=True):
        layer.latency_ms[backend] = median
    return layers


def print_table(title: str, layers: list[Candidate], backends: list[str]) -> None:
    print(
        f"\n{title}\n{'':20}{'MFLOP':>8}",
        *(f"{name + ' ms':>16} {'x HiLo':>7} {'MiB':>6}" for name in backends),
    )
    for layer in layers:
        cells = []
        for name in backends:
            ratio = layer.latency_ms[name] / layers[0].latency_ms[name]
            cells.append(
                f"{layer.latency_ms[name]:16.3f} {ratio:7.2f} {layer.memory_mib[name]:6.1f}"
            )
        print(f"{layer.name:20}{layer.mflop:8.0f}", *cells)


def draw(results: dict[str, list[Candidate]], backends: list[str], path: Path) -> None:
    """Draw a group of bars for each layer, one panel for each shape."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(results), figsize=(6.5 * len(results), 4.8), squeeze=False, layout="constrained"
    )
    height = 0.8 / len(backends)
    for panel, (title, layers) in zip(panels[0], results.items(), strict=True):
        places = np.arange(len(layers))
        for offset, backend in enumerate(backends):
            values = [layer.latency_ms[backend] for layer in layers]
            bars = panel.barh(places + offset * height, values, height, label=backend)
            ratios = [f"{value:.2f} ms, {value / values[0]:.2f}x" for value in values]
            panel.bar_label(bars, ratios, padding=3, fontsize=8)
        names = [f"{layer.name}\n{layer.mflop:.0f} MFLOP" for layer in layers]
        panel.set_yticks(places + height * (len(backends) - 1) / 2, names)
        panel.invert_yaxis()
        panel.margins(x=0.35)
        panel.set_title(title)
        panel.set_xlabel("median latency, ms (and ratio to HiLo, alpha 0.9)")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][-1].legend(loc="lower right")
    figure.savefig(path, dpi=150, format="png")


def main() -> None:
    """Measure, print the tables and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shapes", nargs="+", default=["384x12x14", "96x3x56"])
    installed = [name for name in ("onnxruntime", "openvino") if find_spec(name)]
    parser.add_argument("--backends", nargs="+", default=installed)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--plot", type=Path, help="PNG file to draw; needs matplotlib")
    arguments = parser.parse_args()
    backends = arguments.backends
    results = {}
    for text in arguments.shapes:
        dim, heads, side = (int(part) for part in text.split("x"))
        title = f"{dim} channels, {heads} heads, {side}x{side} tokens"
        with tempfile.TemporaryDirectory() as folder:
            results[title] = measure(
                (dim, heads, side),
                backends,
                Path(folder),
                threads=arguments.threads,
                runs=arguments.runs,
            )
        print_table(title, results[title], backends)
    if arguments.plot:
        draw(results, backends, arguments.plot)


if __name__ == "__main__":
    main()
