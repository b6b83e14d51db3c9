"""`edgevit parity`."""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from edgevit.cli import options
from edgevit.cli.command import command
from edgevit.cli.progress import progress_bar
from edgevit.errors import InputError
from edgevit.parity import DEFAULTS, PairReport, ParityReport, compare, markdown_card
from edgevit.parity.card import TENSOR_COLUMNS, figure_text, iou_text, tensor_row

SHARE = click.FloatRange(0, 1)


def _defaults(name: str) -> str:
    values = ", ".join(f"{key} {getattr(limits, name):g}" for key, limits in DEFAULTS.items())
    return f"  [default: {values}]"


@command(
    "edgevit parity cas_vit_xs_cifar10 --data photos",
    "edgevit parity fp32.onnx --data photos --backend onnxruntime,openvino:gpu",
    "edgevit parity fp32.onnx int8.onnx --data photos --card card.md",
)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--data",
    type=options.PATH,
    metavar="DIR",
    required=True,
    help="Folder of images, or a data set that `edgevit eval` reads.",
)
@options.list_option(
    "--backend",
    "backends",
    help="Backends to compare, the reference first, as NAME or NAME:DEVICE",
    default="all usable; of several models the first usable",
)
@options.split_option
@click.option(
    "--limit",
    type=options.COUNT,
    metavar="N",
    default=100,
    help="Take so many images, spread evenly.",
)
@options.threads_option
@options.preprocess_option
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    metavar="ERROR",
    help="Root mean square error of an output that is allowed, in standard deviations of the "
    "reference's; give it for devices that round float32 files to fewer bits."
    + _defaults("tolerance"),
)
@click.option(
    "--min-agreement",
    type=SHARE,
    metavar="SHARE",
    help="Share of best classes, detections or pixels that must agree."
    + _defaults("min_agreement"),
)
@click.option(
    "--min-iou",
    type=SHARE,
    metavar="SHARE",
    help="Detectors: overlap from which on two boxes or masks are the same." + _defaults("min_iou"),
)
@click.option(
    "--bisect/--no-bisect",
    default=True,
    help="Find the first node that diverges.",
)
@options.json_option
@options.card_option
@click.pass_context
def parity(
    context: click.Context,
    /,
    *,
    models: tuple[str, ...],
    data: Path,
    backends: tuple[str, ...],
    as_json: bool,
    card: Path | None,
    **choices: Any,  # what compare takes of the same names
) -> None:
    """Compare MODEL on several backends, or several MODELs, on the same images.

    The first side is the reference. Each image is preprocessed once and the same batch goes to
    every side. A model's precision is read off its file; the limits of a pair are those of the
    coarser one. The exit code is 1 where a limit is exceeded; the graph is then cut open to name
    the first node that diverges.
    """
    with progress_bar() as show:
        report = compare(models, data, backends=backends or None, progress=show, **choices)
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


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise InputError(f"the card {str(path)!r} cannot be written: {exc}") from exc


def _print(report: ParityReport) -> None:
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"{report.reference.model}: {report.pictures} images of {report.data}, "
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
