"""`edgevit doctor`."""

import json
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from edgevit.cli.command import command
from edgevit.cli.options import json_option, threads_option
from edgevit.doctor import BackendState, Diagnosis, SelfTest, diagnose, self_test


@command("edgevit doctor", "edgevit doctor cas_vit_xs_cifar10")
@click.argument("model", required=False)
@click.option("--device", default="auto", metavar="NAME", help="Device for the self-test.")
@threads_option
@json_option
@click.pass_context
def doctor(
    context: click.Context, *, model: str | None, device: str, threads: int | None, as_json: bool
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
        console.print(f"backend {backend.name}: {_state(backend)}", highlight=False, markup=False)
    said = {backend.reason for backend in diagnosis.backends if backend.reason}
    tests = [test for test in tests if test.problem not in said]
    if tests:
        console.print(_table(tests))
    for test in tests:
        if test.problem is not None:
            console.print(f"{test.backend} {test.device}: {test.problem}", markup=False)


def _state(backend: BackendState) -> str:
    if backend.devices:
        return ", ".join(backend.devices)
    subject = f"backend {backend.name!r} is "
    if backend.reason is not None and backend.reason.startswith(subject):
        return backend.reason.removeprefix(subject)
    return f"not usable: {backend.reason or 'no device'}"


def _table(tests: list[SelfTest]) -> Table:
    table = Table("backend", "device", "preprocessing error", "output error", "verdict")
    for test in tests:
        errors = (test.batch_error, test.output_error)
        shown = ("-" if error is None else f"{error:.1e}" for error in errors)
        verdict = "right" if test.problem is None else "wrong, see below"
        table.add_row(test.backend, test.device or "-", *shown, verdict)
    return table
