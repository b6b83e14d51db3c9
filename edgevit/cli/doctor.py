"""`edgevit doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgevit.doctor import Diagnosis, SelfTest, diagnose, self_test


@click.command()
@click.argument("model", required=False)
@click.option("--device", default="auto", show_default=True, help="Device for the self-test.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of one run.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def doctor(
    context: click.Context, model: str | None, device: str, threads: int | None, as_json: bool
) -> None:
    """Show what this machine has; with a MODEL, prove that it computes right here.

    With a MODEL (an ONNX file or a zoo name), its test vector runs on every installed backend.
    The exit code is 1 where no backend can be used, or one that can answers wrongly.
    """
    diagnosis = diagnose()
    tests = self_test(model, device=device, threads=threads) if model else []
    if as_json:
        document = diagnosis.to_dict() | {"self_test": [asdict(test) for test in tests]}
        click.echo(json.dumps(document))
    else:
        _print(diagnosis, tests)
    usable = [backend for backend in diagnosis.backends if backend.devices]
    ran = [test for test in tests if test.device]
    if not usable or any(test.problem for test in ran) or (model and not ran):
        context.exit(1)


def _print(diagnosis: Diagnosis, tests: list[SelfTest]) -> None:
    console = Console(soft_wrap=True)
    console.print(f"edgevit {diagnosis.edgevit}, Python {diagnosis.python}, {diagnosis.system}")
    features = " ".join(diagnosis.cpu_features) or "unknown features"
    console.print(f"processor: {diagnosis.cpu} ({features})")
    console.print(f"threads: {diagnosis.threads} by default, {diagnosis.cpus} processors allowed")
    packages = ", ".join(f"{name} {found}" for name, found in diagnosis.packages.items())
    console.print(f"packages: {packages}")
    for backend in diagnosis.backends:
        state = ", ".join(backend.devices) or f"not usable: {backend.reason or 'no device'}"
        console.print(f"backend {backend.name}: {state}", highlight=False, markup=False)
    if tests:
        console.print(_table(tests))


def _table(tests: list[SelfTest]) -> Table:
    table = Table("backend", "device", "preprocessing error", "output error", "verdict")
    for test in tests:
        errors = (test.batch_error, test.output_error)
        shown = ("-" if error is None else f"{error:.1e}" for error in errors)
        table.add_row(test.backend, test.device or "-", *shown, escape(test.problem or "right"))
    return table
