"""`edgevit bench`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from edgevit.benchmark import Arithmetic, BenchmarkReport, benchmark
from edgevit.cli.options import parse_size, preprocess_option, runtime_options
from edgevit.core.image import load_image
from edgevit.predictor import Predictor


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@runtime_options
@preprocess_option
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    help="Picture to predict.  [default: a synthetic one]",
)
@click.option(
    "--image-size",
    callback=parse_size,
    default="1080x1920",
    show_default=True,
    metavar="HxW",
    help="Height x width of the synthetic picture.",
)
@click.option("--runs", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def bench(
    models: tuple[str, ...],
    backend: str,
    device: str,
    threads: int | None,
    preprocess: str | None,
    image: Path | None,
    image_size: tuple[int, int],
    runs: int,
    as_json: bool,
) -> None:
    """Measure MODEL... (the bundled classifier where none is named).

    The runtime's bare run and whole predictions alternate in one process, so that their ratio
    holds on a busy machine.
    """
    picture = synthetic_picture(image_size) if image is None else load_image(image).pixels
    reports = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for model in models or (None,):
            with Predictor(
                model, backend=backend, device=device, threads=threads, preprocess=preprocess
            ) as predictor:
                task = progress.add_task(predictor.spec.name, total=runs)
                advance = partial(_advance, progress, task)
                reports.append(
                    benchmark(predictor, picture, runs=runs, threads=threads, progress=advance)
                )
    if as_json:
        click.echo(json.dumps({"models": [report.to_dict() for report in reports]}))
        return
    for report in reports:
        _print(report)


def _advance(progress: Progress, task: TaskID, done: int) -> None:
    progress.update(task, completed=done)


def synthetic_picture(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Make a picture with smooth areas and edges, as photos have.

    Args:
        size: (height, width) in pixels.

    Returns:
        uint8 (height, width, 3), BGR.
    """
    coarse = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def _print(report: BenchmarkReport) -> None:
    height, width = report.image_size
    table = Table()
    table.add_column("ms")
    for name in ("p50", "p95", "p99"):
        table.add_column(name, justify="right")
    for stage, spread in report.stages_ms.items():
        row = (spread.p50, spread.p95, spread.p99)
        table.add_row(stage, *(f"{value:.2f}" for value in row))
    console = Console(soft_wrap=True)
    console.print(
        f"{report.model} on {report.backend} {report.device}, {report.preprocess} preprocessing of "
        f"{height}x{width}, {report.runs} runs"
    )
    console.print(table)
    share = report.overhead_ms / report.stages_ms["runtime"].p50
    console.print(
        f"overhead over the runtime's bare run: {report.overhead_ms:.2f} ms ({share:.0%})"
    )
    console.print(_arithmetic_line(report.arithmetic))
    console.print(
        f"throughput: {report.images_per_s:.0f} images/s one by one, "
        f"{report.mapped_images_per_s:.0f} with map()"
    )
    console.print(f"first answer of a new process: {report.first_answer_ms:.0f} ms")
    if report.rss_mib is not None:
        console.print(f"memory: {report.rss_mib:.0f} MiB, grown {report.rss_growth_mib:+.1f} MiB")


def _arithmetic_line(arithmetic: Arithmetic) -> str:
    """Multiplies and adds count one operation each, as in the rates that processors state."""
    if arithmetic.gflop is None:
        return (
            "arithmetic: the file records no count of operations; export it again to see its rate"
        )
    line = f"arithmetic: {arithmetic.gflop:.2f} GFLOP, {arithmetic.gflop_per_s:.0f} GFLOP/s"
    if arithmetic.share is None:
        return f"{line}; this backend runs no plain matrix product to compare with"
    return (
        f"{line}, {arithmetic.share:.0%} of a large matrix product's "
        f"{arithmetic.matrix_gflop_per_s:.0f} (a multiply-add is 2 FLOP)"
    )
