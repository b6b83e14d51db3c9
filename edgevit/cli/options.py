"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])  # click commands take any parameters

preprocess_option = click.option(
    "--preprocess", type=click.Choice(["exact", "fast"]), help="Resampling."
)


def runtime_options(command: Command) -> Command:
    """Add --backend, --device and --threads."""
    for option in (
        click.option("--threads", type=click.IntRange(min=1), help="Threads of one run."),
        click.option("--device", default="auto", show_default=True, help="Device of the backend."),
        click.option("--backend", default="auto", show_default=True, help="Backend to run on."),
    ):
        command = option(command)
    return command


def picture_options(command: Command) -> Command:
    """Add IMAGE..., --backend, --device, --threads, --preprocess and --json."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON document for each picture."),
        preprocess_option,
        runtime_options,
        click.argument("images", nargs=-1, required=True, metavar="IMAGE..."),
    ):
        command = option(command)
    return command


def output_option(name: str, what: str) -> Callable[[Command], Command]:
    """Make an option that names where to write something made of each picture."""
    described = f"{what}: a file, or a folder for several pictures."
    return click.option(name, type=click.Path(path_type=Path), help=described)


def split_commas(
    kind: click.ParamType[Any],  # of any values: numbers, names
) -> Callable[[click.Context, click.Parameter, Sequence[str]], tuple[Any, ...]]:
    """Make the callback of an option with `multiple`, whose values may also be comma lists.

    Args:
        kind: what each part is; its conversion decides the type of the tuple's entries.
    """

    def split(
        context: click.Context, parameter: click.Parameter, values: Sequence[str]
    ) -> tuple[Any, ...]:
        parts = [part for value in values for part in value.split(",") if part]
        converted = (kind.convert(part, parameter, context) for part in parts)
        return tuple(dict.fromkeys(converted))

    return split


def parse_size(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """Turn 224 or 480x640 (height x width) into (height, width), as an option's callback."""
    if value is None:
        return None
    sides = value.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise click.BadParameter(f"{value!r} is not a size; write 224 or 480x640 (height x width)")
    return int(sides[0]), int(sides[-1])
