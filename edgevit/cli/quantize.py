"""`edgevit quantize`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from edgevit.cli import options
from edgevit.cli.command import command, require_extra
from edgevit.cli.progress import progress_bar
from edgevit.evaluate import DataSet

if TYPE_CHECKING:
    from edgevit.convert import QuantizationReport

ROWS = 12  # of the table, where the rest is shown only when asked for


@command(
    "edgevit quantize cas_vit_s.onnx --calibration photos --output int8.onnx",
    "edgevit quantize fp32.onnx --calibration photos --output int8.onnx \\",
    "    --target openvino --data photos --max-drop 0.5",
)
@click.argument("source", metavar="IN.onnx", type=options.PATH)
@click.option(
    "--calibration",
    type=options.PATH,
    metavar="DIR",
    required=True,
    help="Folder of images of the kind that the model will see, about a hundred.",
)
@click.option(
    "--output", type=options.PATH, metavar="FILE", required=True, help="ONNX file to write."
)
@click.option(
    "--model-name",
    "name",
    metavar="NAME",
    help="The model's name in its spec.  [default: the source's, _int8]",
)
@click.option(
    "--target",
    type=click.Choice(["auto", "openvino", "onnxruntime", "tensorrt"]),
    default="auto",
    help="Backend whose form the file has; auto measures which is fastest here. Each backend "
    "runs every form.",
)
@options.threads_option
@click.option(
    "--rule",
    type=click.Choice(["auto", "minmax", "percentile", "entropy"]),
    default="auto",
    help="How ranges of values are chosen; auto measures which rule changes the answers least.",
)
@click.option(
    "--max-error",
    type=click.FloatRange(min=0, min_open=True),
    metavar="ERROR",
    default=0.1,
    help="Relative change of the answers; layers stay in floating point to keep to it.",
)
@options.list_option("--keep-float", metavar="LAYER", help="Layers to leave in floating point")
@options.data_option
@options.split_option
@click.option(
    "--labels",
    type=options.PATH,
    metavar="PATH",
    help="Where the data set's labels are, as for `edgevit eval`.",
)
@options.list_option(
    "--ignore-index",
    kind=options.LABEL_VALUE,
    metavar="N",
    help="Segmenters: label values that count nowhere",
)
@click.option(
    "--max-drop",
    type=float,
    metavar="POINTS",
    default=1.0,
    help="Points of accuracy that may be lost; more is refused, and nothing written.",
)
@click.option(
    "--limit",
    type=options.COUNT,
    metavar="N",
    default=128,
    help="Take so many of the calibration images, spread evenly.",
)
@click.option("--all-layers", is_flag=True, help="Show every layer in the table.")
@options.json_option
def quantize(
    *,
    source: Path,
    calibration: Path,
    output: Path,
    data: Path | None,
    split: str | None,
    labels: Path | None,
    ignore_index: tuple[int, ...],
    all_layers: bool,
    as_json: bool,
    **choices: Any,  # what the function takes of the same names
) -> None:
    """Write a model with int8 arithmetic, calibrated on images.

    The file runs on ONNX Runtime, OpenVINO and TensorRT. What each layer costs when it alone is
    quantized is measured and shown.
    """
    require_extra("quantize", "quantizing")
    from edgevit.convert import quantize as write_int8

    data_set = None
    if data is not None:
        data_set = DataSet(data, split=split, labels=labels, ignore_index=ignore_index or None)
    with progress_bar() as show:
        report = write_int8(source, output, calibration, data=data_set, progress=show, **choices)
    if as_json:
        click.echo(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        _print(report, None if all_layers else ROWS)


def _print(report: QuantizationReport, rows: int | None) -> None:
    Console().print(_table(report, rows))
    for note in report.notes:
        click.echo(f"note: {note}")
    if report.accuracy is not None:
        found = report.accuracy
        click.echo(
            f"{found.metric} on {found.images} images: {100 * found.before:.2f} before, "
            f"{100 * found.after:.2f} after ({-found.drop:+.2f} points)"
        )
    for name, speed in report.speeds.items():
        click.echo(
            f"{name}: {speed.float32_ms:.2f} ms in float32, {speed.int8_ms:.2f} ms in its "
            f"int8 form ({speed.float32_ms / speed.int8_ms:.2f} times as fast)"
        )
    click.echo(f"form: {report.backend}'s")
    rules = ", ".join(f"{name} {100 * error:.2f}%" for name, error in report.rules.items())
    click.echo(f"ranges: {report.rule} (error with {rules})")
    quantized = sum(layer.precision == "int8" for layer in report.layers)
    click.echo(
        f"wrote {report.path}: {report.spec.name}, {quantized} of {len(report.layers)} "
        f"layers in int8, {report.size_bytes / 2**20:.1f} MiB; on {report.images} calibration "
        f"images the answers change by {100 * report.error:.2f}%, and "
        f"{100 * report.agreement:.2f}% of the best classes stay"
    )


def _table(report: QuantizationReport, rows: int | None) -> Table:
    worst = sorted(report.layers, key=lambda layer: layer.error, reverse=True)
    title = "what each layer costs when it alone is quantized"
    table = Table(title=title if rows is None else f"{title}: the worst {rows}")
    table.add_column("layer", overflow="fold")
    for heading in ("multiply-\nadds, M", "error,\n%", "same\nclass, %", "precision"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in worst[:rows]:
        table.add_row(
            layer.layer,
            f"{layer.multiply_adds / 1e6:.1f}",
            f"{100 * layer.error:.3f}",
            f"{100 * layer.agreement:.2f}",
            layer.precision,
        )
    return table
