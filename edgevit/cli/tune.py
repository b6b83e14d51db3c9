"""`edgevit tune`."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from edgevit.cli.options import parse_size
from edgevit.cli.tune_tables import print_explanation, print_report
from edgevit.evaluate import DataSet
from edgevit.tune import Choices, Goal, TuneReport, search
from edgevit.tune.explain import explain, explain_all
from edgevit.tune.measurement import OBJECTIVES


def _words(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    return None if value is None else tuple(word.strip() for word in value.split(","))


def _numbers(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    words = _words(context, parameter, value)
    if words is None:
        return None
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise click.BadParameter(f"{value!r} is no list of numbers; write 1,2,4")
    return tuple(map(int, words))


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--data", "folder", type=click.Path(path_type=Path), help="Folder of the data set.")
@click.option("--split", help="Part of the data set, such as val.")
@click.option("--limit", type=click.IntRange(min=1), help="So many pictures for accuracy.")
@click.option(
    "--objective", type=click.Choice(list(OBJECTIVES)), default="latency", show_default=True
)
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Points of accuracy that may be lost against the first MODEL, exact preprocessing.",
)
@click.option(
    "--p95-ms", type=click.FloatRange(min=0, min_open=True), help="Limit of the time of an answer."
)
@click.option(
    "--budget-s",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="Time for the search; the best found until then is chosen.",
)
@click.option("--backends", callback=_words, help="Comma between names.  [default: all usable]")
@click.option("--device", help="Device that is used.  [default: all of each backend]")
@click.option(
    "--precisions", callback=_words, help="Of fp32,fp16,int8.  [default: all that can be made]"
)
@click.option("--threads", callback=_numbers, help="Such as 1,2,4.  [default: up to the cores]")
@click.option("--preprocess", callback=_words, help="Of exact,fast.  [default: both]")
@click.option(
    "--image-size",
    callback=parse_size,
    metavar="HxW",
    help="Stretch pictures to a camera's frames for the times.  [default: as they are]",
)
@click.option("--no-profile", is_flag=True, help="Only show; keep no device profile.")
@click.option(
    "--explain", "is_explained", is_flag=True, help="Show what was found before, and why."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def tune(
    models: tuple[str, ...],
    folder: Path | None,
    split: str | None,
    limit: int | None,
    objective: str,
    max_drop: float,
    p95_ms: float | None,
    budget_s: float,
    backends: tuple[str, ...] | None,
    device: str | None,
    precisions: tuple[str, ...] | None,
    threads: tuple[int, ...] | None,
    preprocess: tuple[str, ...] | None,
    image_size: tuple[int, int] | None,
    no_profile: bool,
    is_explained: bool,
    as_json: bool,
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
    if folder is None:
        raise click.UsageError("--data DIR is needed: accuracy is measured on it")
    data = DataSet(folder, split=split, limit=limit)
    goal = Goal(objective, max_drop, p95_ms, budget_s)
    choices = Choices(backends, device, precisions, threads, preprocess)
    with _Watch(as_json) as watch:
        report = search(
            models or None,
            data,
            goal=goal,
            choices=choices,
            image_size=image_size,
            keep=not no_profile,
            progress=watch.update,
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


class _Watch:
    """One line of live progress on stderr; lines of finished steps where that is no terminal."""

    def __init__(self, is_quiet: bool) -> None:
        console = Console(stderr=True)
        self._is_plain = not console.is_terminal and not is_quiet
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None)

    def update(self, what: str, done: int, total: int) -> None:
        self._progress.update(self._task, description=what, completed=done, total=total)
        if self._is_plain and done == total:
            click.echo(f"{what}: done", err=True)

    def __enter__(self) -> _Watch:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()
