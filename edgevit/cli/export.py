"""`edgevit export`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import click

from edgevit.cli.options import parse_size
from edgevit.errors import ExportError

EXPORT_PACKAGES = ("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime")


@click.command()
@click.argument("name")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Official checkpoint.")
@click.option(
    "--weights",
    type=click.Choice(["model", "ema"]),
    help="Which weights of the checkpoint.  [default: ema where it holds them]",
)
@click.option(
    "--task",
    type=click.Choice(["classify", "detect", "segment"]),
    help="A check of what NAME does.  [default: whatever that is]",
)
@click.option("--model-name", help="Name in the spec.  [default: NAME]")
@click.option(
    "--input-size",
    callback=parse_size,
    metavar="HxW",
    help="Height x width in pixels.  [default: 224x224 for classifiers, 384x384 for litv2_b_384, "
    "640x640 for detectors, 512x512 for segmenters]",
)
@click.option(
    "--crop-pct",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of the picture's shorter side that a classifier sees.  "
    "[default: the official evaluation's]",
)
@click.option(
    "--score-threshold",
    type=click.FloatRange(0, 1),
    help="A detection's score is greater, where the caller does not say another.  [default: the "
    "official evaluation's 0.05]",
)
@click.option(
    "--segment-output",
    type=click.Choice(["classes", "classes/2", "classes/1", "logits"]),
    help="What a segmenter's graph ends in: the best class of every 4x4 (or 2x2, 1x1) pixels of "
    "the input, or a value for each class.  [default: classes]",
)
@click.option("--num-classes", type=click.IntRange(min=1), help="Number of classes.")
@click.option("--class-names", type=click.Path(path_type=Path), help="File, one name a line.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="What the graph computes in. fp16 is for GPUs; where it is not safe it stays fp32.",
)
@click.option(
    "--half-weights",
    is_flag=True,
    help="Store fp32 weights in half precision: half the file, the same speed.",
)
@click.option("--dynamic-batch", is_flag=True, help="Accept any batch size: classifiers.")
def export(
    name: str,
    output: Path,
    checkpoint: Path | None,
    weights: Literal["model", "ema"] | None,
    task: str | None,
    model_name: str | None,
    input_size: tuple[int, int] | None,
    crop_pct: float | None,
    score_threshold: float | None,
    segment_output: str | None,
    num_classes: int | None,
    class_names: Path | None,
    precision: str,
    half_weights: bool,
    dynamic_batch: bool,
) -> None:
    """Turn the model variant NAME into one self-describing ONNX file.

    Without --checkpoint the weights are freshly initialised. The file is only written if it gives
    the PyTorch module's numbers in ONNX Runtime.
    """
    from rich.console import Console

    _require_exporter()
    from edgevit.export import export_model

    _check_task(name, task)

    with Console(stderr=True).status(f"exporting {name}") as status:
        report = export_model(
            name,
            output,
            checkpoint=checkpoint,
            weights=weights,
            name=model_name,
            input_size=input_size,
            crop_pct=crop_pct,
            score_threshold=score_threshold,
            form=segment_output,
            num_classes=num_classes,
            class_names=class_names,
            precision=precision,
            half_weights=half_weights,
            dynamic_batch=dynamic_batch,
            progress=lambda step: status.update(f"exporting {name}: {step}"),
        )
    for note in report.notes:
        click.echo(f"note: {note}")
    click.echo(
        f"wrote {report.path}: {report.spec.name}, {len(report.spec.class_names)} classes, "
        f"{report.nodes} nodes, {report.size_bytes / 2**20:.1f} MiB, "
        f"{report.multiply_adds / 1e9:.2f} G multiply-adds; "
        f"differs from the module by at most {report.max_error:.1e}"
    )


def _check_task(name: str, task: str | None) -> None:
    from edgevit.models.variants import find_definition

    found = find_definition(name).task
    if task not in (None, found):
        raise ExportError(f"{name!r} is a model to {found}, not to {task}; leave --task out")


def _require_exporter() -> None:
    missing = [package for package in EXPORT_PACKAGES if find_spec(package) is None]
    if missing:
        raise ExportError(
            f"exporting needs {', '.join(missing)}; on a workstation: "
            "pip install 'edgevit[export]'. The device itself needs none of it"
        )
