"""`edgevit tune`."""

import json
from pathlib import Path
from typing import Any

import click

from edgevit.cli import options
from edgevit.cli.command import command
from edgevit.cli.progress import progress_bar
from edgevit.cli.tune_tables import print_explanation, print_report
from edgevit.evaluate import DataSet
from edgevit.tune import Choices, Goal, TuneReport, search
from edgevit.tune.explain import explain, explain_all
from edgevit.tune.measurement import OBJECTIVES

LIMIT = click.FloatRange(min=0, min_open=True)


@command(
    "edgevit tune --data photos",
    "edgevit tune cas_vit_s.onnx cas_vit_xs.onnx --data photos --backend openvino",
    "edgevit tune cas_vit_s.onnx --data photos --threads 1,2 --p95-ms 30",
    "edgevit tune --explain",
)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@options.data_options
@click.option(
    "--objective",
    type=click.Choice(list(OBJECTIVES)),
    default="latency",
    help="What is to be best.",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    metavar="POINTS",
    default=1.0,
    help="Points of accuracy that may be lost against the first MODEL, exact preprocessing.",
)
@click.option("--p95-ms", type=LIMIT, metavar="MS", help="Limit of the time of an answer.")
@click.option(
    "--budget-s",
    type=LIMIT,
    metavar="SECONDS",
    default=600.0,
    help="Time for the search; the best found until then is chosen.",
)
@options.list_option("--backend", "backends", help="Backends to try", default="all usable")
@click.option(
    "--device", metavar="NAME", help="Device that is used.  [default: all of each backend]"
)
@options.list_option(
    "--precision",
    "precisions",
    kind=click.Choice(["fp32", "fp16", "int8"]),
    metavar="fp32|fp16|int8",
    help="Precisions to try",
    default="all that can be made",
)
@options.list_option(
    "--threads",
    kind=options.COUNT,
    metavar="N",
    help="Threads of one run to try",
    default="up to the cores",
)
@options.list_option(
    "--preprocess",
    kind=options.MODES,
    metavar="exact|fast",
    help="Ways to resize images to try",
    default="both",
)
@click.option(
    "--image-size",
    callback=options.parse_size,
    metavar="HxW",
    help="Stretch images to a camera's frames for the times.  [default: as they are]",
)
@click.option("--no-profile", is_flag=True, help="Only show; keep no device profile.")
@click.option(
    "--explain", "is_explained", is_flag=True, help="Show what was found before, and why."
)
@options.json_option
def tune(
    *,
    models: tuple[str, ...],
    data: Path | None,
    split: str | None,
    limit: int | None,
    objective: str,
    max_drop: float,
    p95_ms: float | None,
    budget_s: float,
    device: str | None,
    image_size: tuple[int, int] | None,
    no_profile: bool,
    is_explained: bool,
    as_json: bool,
    **lists: tuple[Any, ...],  # the other fields of Choices
) -> None:
    """Find the fastest way to run one of MODEL... here that is accurate enough, by measuring.

    MODELs are variants for the same classes (the bundled classifier where none is named), also of
    several input sizes; each is tried in other precisions, on every backend, with several thread
    counts. The choice is kept in a device profile, which edgevit obeys wherever no backend is
    named. `edgevit tune --explain [MODEL]` shows it again.
    """
    if is_explained:
        _explain(models, as_json)
        return
    if data is None:
        raise click.UsageError("--data DIR is needed: accuracy is measured on it")
    data_set = DataSet(data, split=split, limit=limit)
    goal = Goal(objective, max_drop, p95_ms, budget_s)
    choices = Choices(device=device, **{name: values or None for name, values in lists.items()})
    with progress_bar(tells_steps=not as_json) as show:
        report = search(
            models or None,
            data_set,
            goal=goal,
            choices=choices,
            image_size=image_size,
            keep=not no_profile,
            progress=show,
        )
    _show(report, as_json)


def _explain(models: tuple[str, ...], as_json: bool) -> None:
    found = [explain(model) for model in models] if models else explain_all()
    if as_json:
        click.echo(json.dumps({"profiles": [one.to_dict() for one in found]}))
        return
    if not found:
        click.echo("there are no device profiles yet; write one with `edgevit tune`")
    for one in found:
        print_explanation(one)


def _show(report: TuneReport, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.to_dict()))
    else:
        print_report(report)
    if report.choice is None:
        click.echo(f"edgevit: nothing is chosen: {report.reason}", err=True)
        click.get_current_context().exit(1)
