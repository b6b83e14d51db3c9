"""`edgevit zoo`."""

import json

import click
from rich.console import Console
from rich.table import Table

from edgevit.cli.command import Group, examples
from edgevit.cli.options import json_option
from edgevit.zoo import how_to_get, load_zoo, zoo_entry


@click.group(cls=Group, epilog=examples("edgevit zoo list", "edgevit zoo show cas_vit_s"))
def zoo() -> None:
    """List and show the known models."""


@zoo.command("list", epilog=examples("edgevit zoo list"))
@json_option
def list_models(*, as_json: bool) -> None:
    """List the models."""
    entries = load_zoo().values()
    if as_json:
        rows = [entry.to_dict() | {"is_here": entry.file.is_file()} for entry in entries]
        click.echo(json.dumps({"models": rows}))
        return
    table = Table(box=None, padding=(0, 1, 0, 0))  # names stay whole on 80 columns
    for heading in ("model", "dataset", "accuracy %", "parameters", "here"):
        table.add_column(heading, no_wrap=True)
    for entry in entries:
        files = entry.checkpoints or ((entry.bundled,) if entry.bundled else ())
        figures = " / ".join(dict.fromkeys(f"{file.accuracy:.1f}" for file in files))
        here = "yes" if entry.file.is_file() else "no"
        millions = f"{entry.parameters / 1e6:.1f} M"
        table.add_row(entry.name, entry.dataset, f"{entry.metric} {figures}", millions, here)
    Console().print(table)
    if not all(entry.file.is_file() for entry in entries):
        click.echo("`edgevit zoo show MODEL` says how to get one that is not here.")


@zoo.command(epilog=examples("edgevit zoo show cas_vit_s", "edgevit zoo show cas_vit_s --json"))
@click.argument("name")
@json_option
def show(*, name: str, as_json: bool) -> None:
    """Show one model: source, license, size, accuracy, preprocessing, and how to get it."""
    entry = zoo_entry(name)
    if as_json:
        click.echo(json.dumps(entry.to_dict() | {"is_here": entry.file.is_file()}))
        return
    for key, value in entry.to_dict().items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {part}" for name, part in value.items())
        if key == "checkpoints":
            value = "; ".join(
                f"{file.source} ({entry.metric} {file.accuracy}, "
                f"sha256 {file.sha256 or 'not known'})"
                for file in entry.checkpoints
            )
        if key == "multiply_adds":
            value = f"{value} ({value / 1e9:.2f} G; papers call them FLOPs, rates count two each)"
        click.echo(f"{key:13} {value if value else '-'}")
    click.echo(f"file          {entry.file}" if entry.file.is_file() else how_to_get(entry))
