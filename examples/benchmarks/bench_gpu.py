"""Our deploy forms beside timm's models in plain PyTorch, above all on a GPU.

All models of a precision and batch size take turns in one process. A time is the median of
`--rounds` measurements, each of `--repeats` batches straight after one batch of the same model's,
by CUDA events on a GPU and by the clock on a processor. Weights are random: they change no time.
A line for each published ratio follows the tables, with what was measured here.

python bench_gpu.py [--device cuda:0] [--batch 1 64] [--precision fp32 fp16] [--output DIR]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import nn

from edgevit import models
from edgevit.errors import EdgeVitError
from edgevit.export.deploy import deploy

OURS = (
    *("cas_vit_xs", "cas_vit_s", "cas_vit_m", "cas_vit_t"),
    *("lightvit_tiny", "lightvit_small", "litv2_s", "litv2_m"),
)
PEERS = (
    *("resnet50", "swin_tiny_patch4_window7_224", "convnext_tiny", "pvt_v2_b2"),
    *("mobilevit_xs", "mobilevit_s", "efficientformer_l1", "edgenext_small", "poolformer_s12"),
)
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16}


@dataclass(frozen=True)
class Claim:
    """A published throughput ratio."""

    model: str
    peer: str
    ratio: float
    source: str


LITV2, LIGHTVIT = "LITv2, arXiv:2205.13213", "LightViT, arXiv:2207.05557"
CLAIMS = (
    Claim("litv2_s", "resnet50", 1.15, LITV2),
    Claim("litv2_s", "swin_tiny_patch4_window7_224", 1.53, LITV2),
    Claim("litv2_s", "convnext_tiny", 1.36, LITV2),
    Claim("lightvit_tiny", "mobilevit_xs", 2578 / 1581, LIGHTVIT),
)


@dataclass(frozen=True)
class Row:
    """One model's time for a batch."""

    model: str
    form: str  # "deploy" or "timm"
    precision: str
    batch: int
    parameters: int
    batch_ms: float

    @property
    def images_per_s(self) -> float:
        """Images a second."""
        return 1e3 * self.batch / self.batch_ms


def build(name: str, size: int) -> tuple[nn.Module, str]:
    """Make one of our models in deploy form, or timm's of that name, and say which."""
    try:
        return deploy(models.create(name).eval(), (size, size)), "deploy"
    except (EdgeVitError, LookupError) as unknown:
        try:
            import timm
        except ImportError as exc:
            raise SystemExit(f"{unknown}; timm, which has other models, is not installed") from exc
        return timm.create_model(name).eval().requires_grad_(False), "timm"


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """How long the device works."""
    if device.type != "cuda":
        started = perf_counter()
        work()
        return perf_counter() - started
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    work()
    after.record()
    after.synchronize()
    return before.elapsed_time(after) / 1e3


def medians_ms(
    runs: Sequence[Callable[[], object]],
    clock: Callable[[Callable[[], object]], float],
    rounds: int,
    repeats: int,
) -> list[float]:
    """Median milliseconds of one run of each, taken in turn."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds + 1):
        for run, spent in zip(runs, times, strict=True):
            run()
            spent.append(clock(lambda run=run: [run() for _ in range(repeats)]) / repeats)
    return [1e3 * median(spent[1:]) for spent in times]  # the first round chooses kernels


@torch.inference_mode()
def measure(
    names: Iterable[str], precision: str, batch: int, arguments: argparse.Namespace
) -> list[Row]:
    """Time all models at one precision and batch size."""
    device, dtype = torch.device(arguments.device), PRECISIONS[precision]
    images = torch.randn(batch, 3, arguments.size, arguments.size, device=device, dtype=dtype)
    built = [(name, *build(name, arguments.size)) for name in names]
    modules = [module.to(device, dtype) for _, module, _ in built]
    runs = [lambda module=module: module(images) for module in modules]
    times = medians_ms(
        runs, lambda work: seconds(device, work), arguments.rounds, arguments.repeats
    )
    return [
        Row(name, form, precision, batch, sum(p.numel() for p in module.parameters()), time)
        for (name, module, form), time in zip(built, times, strict=True)
    ]


def table(rows: Sequence[Row], reference: str) -> str:
    """A Markdown table for each precision and batch size, fastest first."""
    lines = []
    for precision, batch in dict.fromkeys((row.precision, row.batch) for row in rows):
        group = [row for row in rows if (row.precision, row.batch) == (precision, batch)]
        base = next((row.images_per_s for row in group if row.model == reference), None)
        lines += [f"### {precision}, batch {batch}", ""]
        lines += [f"| model | form | ms | images/s | over {reference} |", "|---|---|---|---|---|"]
        for row in sorted(group, key=lambda row: -row.images_per_s):
            over = f"{row.images_per_s / base:.2f}" if base else "-"
            times = f"{row.batch_ms:.2f} | {row.images_per_s:.0f}"
            lines.append(f"| {row.model} | {row.form} | {times} | {over} |")
        lines.append("")
    return "\n".join(lines)


def claims(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Every published ratio of which both models were measured, with what was measured."""
    rates = {(row.precision, row.batch, row.model): row.images_per_s for row in rows}
    return [
        {**asdict(claim), "precision": precision, "batch": batch, "measured": own / other}
        for claim in CLAIMS
        for precision, batch in dict.fromkeys((row.precision, row.batch) for row in rows)
        if (own := rates.get((precision, batch, claim.model)))
        and (other := rates.get((precision, batch, claim.peer)))
    ]


def claim_table(found: Sequence[dict[str, object]]) -> str:
    """The published ratios as Markdown."""
    lines = ["| claim | published | here |", "|---|---|---|"]
    lines += [
        f"| {one['model']} over {one['peer']}, {one['precision']}, batch {one['batch']} "
        f"| {one['ratio']:.2f} ({one['source']}) | {one['measured']:.2f} |"
        for one in found
    ]
    return "\n".join(lines)


def facts(device: torch.device) -> dict[str, object]:
    """When, where and with what."""
    packages: dict[str, str | None] = {}
    for name in ("edgevit", "torch", "timm"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    is_gpu = device.type == "cuda"
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "device": torch.cuda.get_device_name(device) if is_gpu else processor(),
        "cuda": torch.version.cuda if is_gpu else None,
        "threads": None if is_gpu else torch.get_num_threads(),
        "python": platform.python_version(),
        "packages": packages,
        "command": " ".join(["python", *sys.argv]),
    }


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def write(folder: Path, document: dict[str, object], text: str) -> None:
    """Keep the result as JSON and Markdown, named by date and device."""
    folder.mkdir(parents=True, exist_ok=True)
    where = document["facts"]
    assert isinstance(where, dict)
    name = f"bench_gpu_{where['date'][:10]}_{'_'.join(where['device'].split())}".replace("/", "_")
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(text + "\n", encoding="utf-8")
    print(f"wrote {folder / name}.json and .md", file=sys.stderr)


def parsed(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--models", nargs="+", default=[*OURS, *PEERS], help="ours and timm's")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--reference", default="resnet50", help="what `over` divides by")
    parser.add_argument("--output", type=Path, help="folder for the JSON and Markdown files")
    return parser.parse_args(given)


def main() -> None:
    """Measure, print and keep."""
    arguments = parsed()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch finds no CUDA device; pass --device cpu")
    torch.backends.cudnn.benchmark = True
    rows: list[Row] = []
    for precision in arguments.precision:
        for batch in arguments.batch:
            rows += measure(arguments.models, precision, batch, arguments)
            print(f"measured {precision}, batch {batch}", file=sys.stderr)
    where, found = facts(device), claims(rows)
    heading = "\n".join(f"- {name}: {value}" for name, value in where.items())
    text = "\n\n".join([heading, table(rows, arguments.reference), claim_table(found)])
    print(text)
    if arguments.output:
        listed = [{**asdict(row), "images_per_s": row.images_per_s} for row in rows]
        write(arguments.output, {"facts": where, "rows": listed, "claims": found}, text)


if __name__ == "__main__":
    main()
