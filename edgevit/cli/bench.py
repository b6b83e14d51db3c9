"""`edgevit bench`."""

from __future__ import annotations

import json
import os
from itertools import product
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, TaskID

from edgevit.benchmark import Accuracy, Candidate, Comparison, card, compare, write_plot
from edgevit.benchmark.plot import SUFFIXES, require_matplotlib
from edgevit.cli.accuracy import measured_accuracies, stated_accuracy
from edgevit.cli.bench_tables import print_comparison
from edgevit.cli.options import parse_size, split_commas
from edgevit.core.cache.files import write_atomically
from edgevit.core.image.load import load_image
from edgevit.errors import EdgeVitError, InputError
from edgevit.evaluate import DataSet

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--backend",
    "backends",
    multiple=True,
    default=("auto",),
    callback=split_commas(click.STRING),
    metavar="NAME[,NAME]...",
    help="Backends to run on; may be repeated.  [default: auto]",
)
@click.option("--device", default="auto", show_default=True, help="Device of each backend.")
@click.option(
    "--threads",
    multiple=True,
    callback=split_commas(click.IntRange(min=1)),
    metavar="N[,N]...",
    help="Threads of one run; may be repeated.  [default: each backend's]",
)
@click.option(
    "--preprocess",
    "modes",
    multiple=True,
    callback=split_commas(click.Choice(["exact", "fast"])),
    metavar="exact|fast[,...]",
    help="Resampling.  [default: the model's]",
)
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
@click.option(
    "--starts",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="New processes for the first answer and memory, 0 for none.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of a data set to measure accuracy on, as for `edgevit eval`.",
)
@click.option("--split", help="Part of the data set, such as val.")
@click.option("--limit", type=click.IntRange(min=1), help="So many of its pictures.")
@click.option("--card", "card_path", type=FILE, help="Markdown file to write.")
@click.option("--plot", "plot_path", type=FILE, help="PNG or SVG of latency and accuracy to write.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def bench(
    context: click.Context,
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
    card_path: Path | None,
    plot_path: Path | None,
    as_json: bool,
) -> None:
    """Measure MODEL... (the bundled classifier where none is named).

    Every model runs on every backend with every number of threads, all in turn in one process, so
    that the figures compare on a busy machine, too; precisions are different files. The runtime's
    bare run and whole predictions alternate. Ctrl-C prints what was measured so far.
    """
    names = models or (None,)
    stated = {name: stated_accuracy(name) for name in names}
    _check_plot(plot_path, stated, data)
    choices = product(names, backends, threads or (None,), modes or (None,))
    candidates = [Candidate(name, backend, device, n, mode) for name, backend, n, mode in choices]
    picture = synthetic_picture(image_size) if image is None else load_image(image).pixels
    problem: BaseException | None = None
    with Bar() as bar:
        comparison = compare(candidates, picture, runs=runs, starts=starts, progress=bar.show)
        accuracies = [stated[candidate.model] for candidate in candidates]
        if data is not None and not comparison.is_interrupted:
            try:
                data_set = DataSet(data, split=split, limit=limit)
                accuracies = measured_accuracies(comparison.reports, data_set, bar.show)
            except (EdgeVitError, KeyboardInterrupt) as exc:  # raised again below
                problem = exc
    comparison = comparison.with_accuracies(accuracies)
    if as_json:
        click.echo(json.dumps(comparison.to_dict(), ensure_ascii=False))
    else:
        print_comparison(comparison)
    if problem is not None:
        raise problem
    _write(comparison, card_path, plot_path)
    if comparison.is_interrupted:
        done = min(report.runs for report in comparison.reports)
        click.echo(f"edgevit: interrupted after {done} of {runs} runs", err=True)
        context.exit(1)


def synthetic_picture(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Make a picture with smooth areas and edges, as photos have.

    Args:
        size: (height, width) in pixels.

    Returns:
        uint8 (height, width, 3), BGR.
    """
    coarse = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC).astype(np.uint8)


class Bar:
    """One bar of progress on stderr, for one phase after the other."""

    def __init__(self) -> None:
        """Show nothing where stderr is no terminal."""
        console = Console(stderr=True)
        self._progress = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}

    def show(self, phase: str, done: int, total: int) -> None:
        """Say how much of a phase is done."""
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(phase)
        self._progress.update(self._tasks[phase], completed=done, total=total)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()


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


def _write(comparison: Comparison, card_path: Path | None, plot_path: Path | None) -> None:
    has_plot = plot_path is not None and not (
        comparison.is_interrupted and any(r.accuracy is None for r in comparison.reports)
    )
    try:
        if plot_path is not None and has_plot:
            write_plot(comparison, plot_path)
        if card_path is not None:
            address = _relative(plot_path, card_path) if plot_path and has_plot else None
            write_atomically(card_path, card(comparison, address).encode())
    except OSError as exc:
        raise InputError(f"{exc.filename!r} cannot be written: {exc.strerror}") from exc


def _relative(path: Path, beside: Path) -> str:
    return Path(os.path.relpath(path.resolve(), beside.resolve().parent)).as_posix()
