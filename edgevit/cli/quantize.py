"""`edgevit quantize`."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from edgevit.core.image.files import pictures_of
from edgevit.errors import QuantizationError
from edgevit.evaluate import DataSet

if TYPE_CHECKING:
    from edgevit.convert import QuantizationReport

PACKAGES = ("onnx", "onnx_ir", "onnxruntime")
PATH = click.Path(path_type=Path)
ROWS = 12  # of the table, where the rest is shown only when asked for


@click.command()
@click.argument("source", metavar="IN.onnx", type=PATH)
@click.option(
    "--calibration",
    type=PATH,
    required=True,
    help="Folder of pictures of the kind that the model will see, about a hundred.",
)
@click.option("--output", type=PATH, required=True, help="The file to write.")
@click.option("--model-name", help="The model's name in its spec.  [default: the source's, _int8]")
@click.option(
    "--backend",
    type=click.Choice(["auto", "openvino", "onnxruntime", "tensorrt"]),
    default="auto",
    show_default=True,
    help="Whose form the file has; auto measures which is fastest here. Each runs on all.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of one run.")
@click.option(
    "--range",
    "rule",
    type=click.Choice(["auto", "minmax", "percentile", "entropy"]),
    default="auto",
    show_default=True,
    help="How ranges are chosen; auto measures which changes the answers least.",
)
@click.option(
    "--max-error",
    type=click.FloatRange(min=0, min_open=True),
    default=0.1,
    show_default=True,
    help="Relative change of the answers; layers stay in floating point to keep to it.",
)
@click.option("--keep-float", multiple=True, help="Layer to leave as it is; may be repeated.")
@click.option("--data", type=PATH, help="Data set to measure accuracy on, as `edgevit eval` does.")
@click.option("--split", help="Part of the data set, such as val.")
@click.option("--labels", type=PATH, help="Where the data set's labels are, see `edgevit eval`.")
@click.option(
    "--ignore-index", type=int, multiple=True, help="Segmenters: label value that counts nowhere."
)
@click.option(
    "--max-drop",
    type=float,
    default=1.0,
    show_default=True,
    help="Points of accuracy that may be lost; more is refused, and nothing written.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    help="Take this many of the calibration pictures, spread evenly.",
)
@click.option("--all-layers", is_flag=True, help="Show every layer in the table.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def quantize(
    source: Path,
    calibration: Path,
    output: Path,
    model_name: str | None,
    backend: str,
    threads: int | None,
    rule: str,
    max_error: float,
    keep_float: tuple[str, ...],
    data: Path | None,
    max_drop: float,
    limit: int,
    all_layers: bool,
    as_json: bool,
    **parts: Any,
) -> None:
    """Write a model with int8 arithmetic, calibrated on pictures.

    The file runs on ONNX Runtime, OpenVINO and TensorRT. What each layer costs when it alone is
    quantised is measured and shown.
    """
    _require_packages()
    from edgevit.convert import quantize

    pictures = pictures_of(calibration)
    with _Bar() as bar:
        report = quantize(
            source,
            output,
            pictures,
            name=model_name,
            backend=backend,
            threads=threads,
            rule=rule,
            max_error=max_error,
            keep_float=keep_float,
            data=None if data is None else _data_set(data, **parts),
            max_drop=max_drop,
            limit=limit,
            progress=bar.show,
        )
    if as_json:
        click.echo(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        _print(report, None if all_layers else ROWS)


def _data_set(
    folder: Path, split: str | None, labels: Path | None, ignore_index: tuple[int, ...]
) -> DataSet:
    return DataSet(folder, split=split, labels=labels, ignore_index=ignore_index or None)


def _require_packages() -> None:
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        raise QuantizationError(
            f"quantising needs {', '.join(missing)}; on a workstation: "
            "pip install 'edgevit[quantize]'. The device itself needs none of it"
        )


class _Bar:
    """A line of progress on stderr, for the step that is under way."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._task: TaskID | None = None
        self._step = ""

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, step: str, done: int, total: int) -> None:
        """Show how far a step is."""
        if step != self._step or self._task is None:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task, self._step = self._progress.add_task(step, total=total), step
        self._progress.update(self._task, completed=done)


def _print(report: QuantizationReport, rows: int | None) -> None:
    Console().print(_table(report, rows))
    for note in report.notes:
        click.echo(f"note: {note}")
    if report.accuracy is not None:
        found = report.accuracy
        click.echo(
            f"{found.metric} on {found.images} pictures: {100 * found.before:.2f} before, "
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
    click.echo(
        f"wrote {report.path}: {report.spec.name}, {_quantized(report)} of {len(report.layers)} "
        f"layers in int8, {report.size_bytes / 2**20:.1f} MiB; on {report.images} calibration "
        f"pictures the answers change by {100 * report.error:.2f}%, and "
        f"{100 * report.agreement:.2f}% of the best classes stay"
    )


def _quantized(report: QuantizationReport) -> int:
    return sum(layer.precision == "int8" for layer in report.layers)


def _table(report: QuantizationReport, rows: int | None) -> Table:
    worst = sorted(report.layers, key=lambda layer: layer.error, reverse=True)
    title = "what each layer costs when it alone is quantised"
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
