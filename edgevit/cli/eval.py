"""`edgevit eval`."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgevit.cli import options
from edgevit.cli.command import command
from edgevit.cli.progress import progress_bar
from edgevit.errors import InputError
from edgevit.evaluate import DataSet, EvaluationReport, evaluate
from edgevit.predictor import Predictor

COUNTS = ("images", "boxes", "pixels")


@command(
    "edgevit eval cas_vit_xs_cifar10 --data photos --split val",
    "edgevit eval cards.onnx --data cards --split val --limit 50 --json",
    "edgevit eval streets.onnx --data streets --ignore-index 11",
)
@click.argument("model")
@click.option(
    "--data",
    "folder",
    type=options.PATH,
    metavar="DIR",
    required=True,
    help="Folder of the data set.",
)
@options.split_option
@click.option(
    "--annotations", type=options.PATH, metavar="FILE", help="Detectors: the COCO JSON file."
)
@click.option("--images", type=options.PATH, metavar="DIR", help="Folder of the images.")
@click.option(
    "--labels",
    type=options.PATH,
    metavar="PATH",
    help="Classifiers: the list of `file,label`. Segmenters: the folder of label PNGs.",
)
@click.option(
    "--class-names",
    type=options.PATH,
    metavar="FILE",
    help="Classifiers, detectors: a file with what the data calls each of the model's classes, a "
    "line each, in the order of class ids.",
)
@options.list_option(
    "--ignore-index",
    kind=options.LABEL_VALUE,
    metavar="N",
    help="Segmenters: label values that count nowhere",
    default="255",
)
@click.option(
    "--first-class",
    type=options.LABEL_VALUE,
    metavar="N",
    help="Segmenters: label value of class 0; lower ones count nowhere.  [default: what the "
    "data's labels.csv says, else 0]",
)
@click.option(
    "--limit", type=options.COUNT, metavar="N", help="Take so many of its images, spread evenly."
)
@options.runtime_options
@options.preprocess_option
@options.json_option
def eval(
    *,
    model: str,
    folder: Path,
    class_names: Path | None,
    ignore_index: tuple[int, ...],
    as_json: bool,
    backend: str,
    device: str,
    threads: int | None,
    preprocess: str | None,
    **places: Any,  # the other fields of a DataSet
) -> None:
    """Measure the accuracy of MODEL (an ONNX file or a zoo name) on a data set.

    \b
    Classifiers (top-1, top-5): DIR/[SPLIT/]<class>/*.jpg, or
      DIR/[SPLIT/]labels.csv with lines `file,label` (a class name or id).
    Detectors (COCO AP): DIR/annotations/instances_SPLIT.json, DIR/images/*.jpg.
    Segmenters (mIoU): DIR/images/[SPLIT/]<id>.jpg, DIR/labels/[SPLIT/]<id>.png;
      DIR/labels.csv with lines `value,name` may say which value is which class.
    """  # noqa: D301 - click's mark for lines to keep
    data = DataSet(
        folder,
        class_names=None if class_names is None else _read_lines(class_names),
        ignore_index=ignore_index or None,
        **places,
    )
    with (
        Predictor(
            model, backend=backend, device=device, threads=threads, preprocess=preprocess
        ) as predictor,
        progress_bar() as show,
    ):
        report = evaluate(predictor, data, progress=partial(show, predictor.spec.name))
    if as_json:
        click.echo(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        _print(report)


def _read_lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text(encoding="utf-8-sig").rstrip().splitlines())
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"class names cannot be read from {str(path)!r}: {exc}") from exc


def _print(report: EvaluationReport) -> None:
    console = Console(soft_wrap=True, highlight=False)
    split = "" if report.split is None else f", {report.split}"
    console.print(
        f"{report.model} on {report.backend} {report.device}, {report.preprocess} preprocessing: "
        f"{report.images} images of {report.data}{split}",
        markup=False,
    )
    console.print(_table(report))
    for name, value in report.overall.items():
        console.print(f"{name:20} {_share(value):>7}")
    spent = ", ".join(f"{stage} {ms:.1f}" for stage, ms in report.timings_ms.items())
    console.print(f"medians in ms: {spent}")
    for note in report.notes:
        console.print(note, markup=False)


def _table(report: EvaluationReport) -> Table:
    table = Table()
    headings = [name for name in report.per_class[0] if name != "class_id"]
    for name in headings:
        table.add_column(name, justify="left" if name == "class_name" else "right")
    for row in report.per_class:
        table.add_row(*(_cell(name, row[name]) for name in headings))
    return table


def _cell(name: str, value: Any) -> str:  # a name, a count or a share
    if name == "class_name":
        return escape(value)
    return str(value) if name in COUNTS else _share(value)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
