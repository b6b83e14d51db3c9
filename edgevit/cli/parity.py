"""`edgevit parity`."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from edgevit.cli.options import preprocess_option
from edgevit.errors import InputError
from edgevit.parity import DEFAULTS, PairReport, ParityReport, compare, markdown_card
from edgevit.parity.card import TENSOR_COLUMNS, figure_text, iou_text, tensor_row

SHARE = click.FloatRange(0, 1)


def _defaults(name: str) -> str:
    values = ", ".join(f"{key} {getattr(limits, name):g}" for key, limits in DEFAULTS.items())
    return f"  [default: {values}]"


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of pictures, or a data set that `edgevit eval` reads.",
)
@click.option(
    "--backends",
    help="Sides, separated by commas, the reference first: BACKEND or BACKEND:DEVICE, such as "
    "onnxruntime,openvino:gpu.  [default: all usable; of several models the first usable]",
)
@click.option("--split", help="Part of the data set, such as val.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="So many pictures, spread evenly.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of one run.")
@preprocess_option
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help="Root mean square error of an output that is allowed, in standard deviations of the "
    "reference's; give it for devices that round float32 files to fewer bits."
    + _defaults("tolerance"),
)
@click.option(
    "--min-agreement",
    type=SHARE,
    help="Share of best classes, detections or pixels that must agree."
    + _defaults("min_agreement"),
)
@click.option(
    "--min-iou",
    type=SHARE,
    help="Detectors: overlap from which on two boxes or masks are the same." + _defaults("min_iou"),
)
@click.option("--bisect/--no-bisect", default=True, help="Find the first node that diverges.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("--card", type=click.Path(path_type=Path), help="Markdown file to write.")
@click.pass_context
def parity(
    context: click.Context,
    models: tuple[str, ...],
    data: Path,
    backends: str | None,
    split: str | None,
    limit: int,
    threads: int | None,
    preprocess: str | None,
    tolerance: float | None,
    min_agreement: float | None,
    min_iou: float | None,
    bisect: bool,
    as_json: bool,
    card: Path | None,
) -> None:
    """Compare MODEL on several backends, or several MODELs, on the same pictures.

    The first side is the reference. Each picture is preprocessed once and the same batch goes to
    every side. A model's precision is read off its file; the limits of a pair are those of the
    coarser one. The exit code is 1 where a limit is exceeded; the graph is then cut open to name
    the first node that diverges.
    """
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        report = compare(
            models,
            data,
            backends=None if backends is None else backends.split(","),
            split=split,
            limit=limit,
            threads=threads,
            preprocess=preprocess,
            tolerance=tolerance,
            min_agreement=min_agreement,
            min_iou=min_iou,
            bisect=bisect,
            progress=Bars(progress),
        )
    if card is not None:
        _write(card, markdown_card(report))
    if as_json:
        click.echo(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        _print(report)
    bad = [pair for pair in report.pairs if not pair.is_parity]
    for pair in bad:
        click.echo(f"edgevit: no parity, {pair.side}: {'; '.join(pair.problems)}", err=True)
    if bad:
        context.exit(1)


class Bars:
    """A bar for each kind of work, made when it begins."""

    def __init__(self, progress: Progress) -> None:
        """Draw on `progress`."""
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show how far the work is."""
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what)
        self._progress.update(self._tasks[what], completed=done, total=total)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise InputError(f"the card {str(path)!r} cannot be written: {exc}") from exc


def _print(report: ParityReport) -> None:
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"{report.reference.model}: {report.pictures} pictures of {report.data}, "
        f"{report.preprocess} preprocessing; reference {report.reference}, "
        f"{report.reference.precision}",
        markup=False,
    )
    for pair in report.pairs:
        _print_pair(console, pair)


def _print_pair(console: Console, pair: PairReport) -> None:
    limits = pair.limits
    console.print(
        f"\n{pair.side}, {pair.side.precision}: {'parity' if pair.is_parity else 'no parity'}; "
        f"{pair.agreement:.3%} agree (limits of {pair.precision}: agreement "
        f"{limits.min_agreement:.2%}, error {limits.tolerance:g} std)",
        markup=False,
    )
    table = Table()
    for name in TENSOR_COLUMNS:
        table.add_column(name, justify="left" if name == "output" else "right")
    for tensor in pair.tensors:
        table.add_row(*tensor_row(tensor))
    console.print(table)
    for name, value in pair.decisions.items():
        console.print(f"{name:24} {figure_text(name, value):>9}")
    for row in pair.per_class:
        console.print(f"  iou {row['class_name']!s:18} {iou_text(row['iou']):>9}", markup=False)
    for note in (*pair.problems, *pair.notes):
        console.print(note, markup=False)
    if pair.divergence is not None:
        console.print(f"the first node that diverges: {pair.divergence}", markup=False)
