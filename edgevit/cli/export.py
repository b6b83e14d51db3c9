"""`edgevit export`."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from edgevit.cli.command import command, require_extra
from edgevit.cli.options import COUNT, PATH, parse_size
from edgevit.core.model.task import TASKS
from edgevit.errors import ExportError


@command(
    "edgevit export cas_vit_s --checkpoint cas_vit_s.pth --output cas_vit_s.onnx",
    "edgevit export cas_vit_xs --output fresh.onnx --num-classes 10",
    "edgevit export cas_vit_xs_semantic_fpn --checkpoint streets.pth \\",
    "    --class-names streets.txt --output streets.onnx",
)
@click.argument("variant", metavar="NAME")
@click.option("--output", type=PATH, metavar="FILE", required=True, help="ONNX file to write.")
@click.option("--checkpoint", type=PATH, metavar="FILE", help="Official checkpoint.")
@click.option(
    "--weights",
    type=click.Choice(["model", "ema"]),
    help="Which weights of the checkpoint.  [default: ema where it holds them]",
)
@click.option(
    "--task",
    type=click.Choice(list(TASKS)),
    help="Check that NAME is a model for this task.  [default: no check]",
)
@click.option(
    "--model-name", "name", metavar="NAME", help="The model's name in its spec.  [default: NAME]"
)
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
    metavar="SHARE",
    help="Share of the image's shorter side that a classifier sees.  "
    "[default: the official evaluation's]",
)
@click.option(
    "--score-threshold",
    type=click.FloatRange(0, 1),
    metavar="SCORE",
    help="Detectors: objects have a greater score, where the caller does not say another.  "
    "[default: the official evaluation's 0.05]",
)
@click.option(
    "--segment-output",
    type=click.Choice(["classes", "classes/2", "classes/1", "logits"]),
    help="What a segmenter's graph ends in: the best class of every 4x4 (or 2x2, 1x1) pixels of "
    "the input, or a value for each class.  [default: classes]",
)
@click.option(
    "--num-classes",
    type=COUNT,
    metavar="N",
    help="Number of classes.  [default: the checkpoint's]",
)
@click.option("--class-names", type=PATH, metavar="FILE", help="File of class names, one a line.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    help="What the graph computes in. fp16 is for GPUs; nodes that it would harm stay fp32.",
)
@click.option(
    "--half-weights",
    is_flag=True,
    help="Store fp32 weights in half precision: half the file, the same speed.",
)
@click.option("--dynamic-batch", is_flag=True, help="Classifiers: accept any batch size.")
def export(*, variant: str, output: Path, task: str | None, **choices: Any) -> None:
    """Turn the model variant NAME into one self-describing ONNX file.

    Without --checkpoint the weights are freshly initialized. The file is only written if it gives
    the PyTorch module's numbers in ONNX Runtime. `edgevit zoo list` names variants.
    """
    require_extra("export", "exporting")
    from edgevit.export import export_model

    _check_task(variant, task)
    with Console(stderr=True).status(f"exporting {variant}") as status:
        report = export_model(
            variant,
            output,
            progress=lambda step: status.update(f"exporting {variant}: {step}"),
            **choices,  # the other options have the names of its arguments
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
