"""`edgevit bench`."""

import json
import os
from itertools import product
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from edgevit.benchmark import Accuracy, Candidate, Comparison, compare, write_plot
from edgevit.benchmark import card as markdown_card
from edgevit.benchmark.plot import SUFFIXES, require_matplotlib
from edgevit.cli import options
from edgevit.cli.accuracy import measured_accuracies, stated_accuracy
from edgevit.cli.bench_tables import print_comparison
from edgevit.cli.command import command
from edgevit.cli.progress import progress_bar
from edgevit.core.cache.files import write_atomically
from edgevit.core.image.load import load_image
from edgevit.errors import EdgeVitError, InputError
from edgevit.evaluate import DataSet


@command(
    "edgevit bench",
    "edgevit bench cas_vit_s.onnx --backend onnxruntime,openvino --threads 1,2,4",
    "edgevit bench fp32.onnx int8.onnx --data photos --card card.md",
)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@options.list_option("--backend", "backends", help="Backends to run on", default="auto")
@click.option("--device", default="auto", metavar="NAME", help="Device of each backend.")
@options.list_option(
    "--threads",
    kind=options.COUNT,
    metavar="N",
    help="Threads of one run",
    default="each backend's",
)
@options.list_option(
    "--preprocess",
    "modes",
    kind=options.MODES,
    metavar="exact|fast",
    help="How images are resized",
    default="as the model says",
)
@click.option(
    "--image",
    type=options.PATH,
    metavar="FILE",
    help="Image to predict.  [default: a synthetic one]",
)
@click.option(
    "--image-size",
    callback=options.parse_size,
    default="1080x1920",
    metavar="HxW",
    help="Height x width of the synthetic image.",
)
@click.option(
    "--runs",
    type=options.COUNT,
    metavar="N",
    default=200,
    help="Predictions of each candidate.",
)
@click.option(
    "--starts",
    type=click.IntRange(min=0),
    metavar="N",
    default=3,
    help="New processes for the first answer and memory, 0 for none.",
)
@options.data_options
@options.card_option
@click.option(
    "--plot", type=options.FILE, metavar="FILE", help="PNG or SVG of latency and accuracy to write."
)
@options.json_option
@click.pass_context
def bench(
    context: click.Context,
    *,
    models: tuple[str, ...],
    backends: tuple[str, ...],
    device: str,
    threads: tuple[int, ...],
    modes: tuple[str, ...],
    image: Path | None,
    image_size: tuple[int, int],
    runs: int,
    starts: int,
    data: Path | None,
    split: str | None,
    limit: int | None,
    card: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure MODEL... (the bundled classifier where none is named).

    Every model runs on every backend with every number of threads, all in turn in one process, so
    that the figures compare on a busy machine, too; precisions are different files. The runtime's
    bare run and whole predictions alternate. Ctrl-C prints what was measured so far.
    """
    names = models or (None,)
    stated = {name: stated_accuracy(name) for name in names}
    _check_plot(plot, stated, data)
    choices = product(names, backends or ("auto",), threads or (None,), modes or (None,))
    candidates = [Candidate(name, backend, device, n, mode) for name, backend, n, mode in choices]
    pixels = synthetic_image(image_size) if image is None else load_image(image).pixels
    problem: BaseException | None = None
    with progress_bar() as show:
        comparison = compare(candidates, pixels, runs=runs, starts=starts, progress=show)
        accuracies = [stated[candidate.model] for candidate in candidates]
        if data is not None and not comparison.is_interrupted:
            try:
                data_set = DataSet(data, split=split, limit=limit)
                accuracies = measured_accuracies(comparison.reports, data_set, show)
            except (EdgeVitError, KeyboardInterrupt) as exc:  # raised again below
                problem = exc
    comparison = comparison.with_accuracies(accuracies)
    if as_json:
        click.echo(json.dumps(comparison.to_dict(), ensure_ascii=False))
    else:
        print_comparison(comparison)
    if problem is not None:
        raise problem
    _write(comparison, card, plot)
    if comparison.is_interrupted:
        done = min(report.runs for report in comparison.reports)
        click.echo(f"edgevit: interrupted after {done} of {runs} runs", err=True)
        context.exit(1)


def synthetic_image(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Make an image with smooth areas and edges, as photos have.

    Args:
        size: (height, width) in pixels.

    Returns:
        uint8 (height, width, 3), BGR.
    """
    coarse = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def _check_plot(
    path: Path | None, stated: dict[str | None, Accuracy | None], data: Path | None
) -> None:
    """Refuse before the measurement what cannot be drawn after it."""
    if path is None:
        return
    if path.suffix not in SUFFIXES:
        raise click.UsageError(f"--plot is a file {' or '.join(SUFFIXES)}, not {path.name!r}")
    lacking = [str(name) for name, accuracy in stated.items() if accuracy is None]
    if lacking and data is None:
        raise click.UsageError(
            f"--plot needs an accuracy, and the model zoo states none for {', '.join(lacking)}; "
            "pass --data DIR to measure it"
        )
    require_matplotlib()


def _write(comparison: Comparison, card: Path | None, plot: Path | None) -> None:
    if comparison.is_interrupted and any(r.accuracy is None for r in comparison.reports):
        plot = None
    try:
        if plot is not None:
            write_plot(comparison, plot)
        if card is not None:
            address = None if plot is None else _relative(plot, card)
            write_atomically(card, markdown_card(comparison, address).encode())
    except OSError as exc:
        raise InputError(f"{exc.filename!r} cannot be written: {exc.strerror}") from exc


def _relative(path: Path, beside: Path) -> str:
    return Path(os.path.relpath(path.resolve(), beside.resolve().parent)).as_posix()
