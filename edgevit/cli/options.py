"""Options that several commands share, and the former spellings of some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from edgevit.zoo import BUNDLED

Function = TypeVar("Function", bound=Callable[..., Any])  # click commands take any parameters

PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)
COUNT = click.IntRange(min=1)
MODES = click.Choice(["exact", "fast"])
LABEL_VALUE = click.IntRange(0, 65535)

# (command, an option's former spelling) -> how it is spelled now.
RENAMED = {
    ("parity", "--backends"): "--backend",
    ("quantize", "--backend"): "--target",
    ("quantize", "--range"): "--rule",
    ("tune", "--backends"): "--backend",
    ("tune", "--precisions"): "--precision",
}


def stacked(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """Make one decorator of several options, which the help shows in this order."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


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
        parts = [part.strip() for value in values for part in value.split(",")]
        converted = (kind.convert(part, parameter, context) for part in parts if part)
        return tuple(dict.fromkeys(converted))

    return split


def list_option(
    *names: str,
    kind: click.ParamType[Any] = click.STRING,  # of any values: numbers, names
    metavar: str = "NAME",
    help: str,
    default: str = "",
) -> Callable[[Function], Function]:
    """Make an option that takes several values: with commas between them, or repeated.

    Args:
        names: its spelling, and its parameter where that differs.
        kind: what each value is.
        metavar: stands for one value in the help.
        help: says what the values are.
        default: says what happens without the option.
    """
    described = f"{help}; may be repeated." + (f"  [default: {default}]" if default else "")
    return click.option(
        *names,
        multiple=True,
        callback=split_commas(kind),
        metavar=f"{metavar},...",
        help=described,
    )


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
card_option = click.option("--card", type=FILE, metavar="FILE", help="Markdown file to write.")
split_option = click.option("--split", metavar="NAME", help="Part of the data set, such as val.")
data_option = click.option(
    "--data",
    type=PATH,
    metavar="DIR",
    help="Folder of a data set to measure accuracy on, as for `edgevit eval`.",
)
data_options = stacked(
    data_option,
    split_option,
    click.option("--limit", type=COUNT, metavar="N", help="Take so many of its images."),
)
threads_option = click.option(
    "--threads", type=COUNT, metavar="N", help="Threads of one run.  [default: the usable cores]"
)
preprocess_option = click.option(
    "--preprocess", type=MODES, help="How images are resized.  [default: as the model says]"
)

runtime_options = stacked(
    click.option("--backend", default="auto", metavar="NAME", help="Backend to run on."),
    click.option(
        "--device",
        default="auto",
        metavar="NAME",
        help="Device of the backend, such as cpu or cuda:0.",
    ),
    threads_option,
)


def image_options(task: str, model: str, subject: str) -> Callable[[Function], Function]:
    """Make the options of a command that answers images with a model for its task.

    Args:
        task: in `BUNDLED`.
        model: what such a model is called.
        subject: what the bundled one is for.
    """
    described = f"ONNX file or zoo name of {model}.  [default: the bundled one for {subject}]"
    default = BUNDLED[task]
    return stacked(
        click.option(
            "--model", metavar="MODEL", default=default, show_default=False, help=described
        ),
        click.argument("images", nargs=-1, required=True, metavar="IMAGE..."),
        runtime_options,
        preprocess_option,
        click.option(
            "--json", "as_json", is_flag=True, help="Print one JSON document for each image."
        ),
    )


def output_option(name: str, what: str) -> Callable[[Function], Function]:
    """Make an option that names where to write something made of each image."""
    return click.option(
        name, type=PATH, metavar="PATH", help=f"{what}: a file, or a folder for several images."
    )


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
