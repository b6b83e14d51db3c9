"""`edgevit`: the command group, its errors and its lazily imported commands."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module

import click

from edgevit import __version__
from edgevit.errors import EdgeVitError

# Command -> module of edgevit.cli that defines it under the same name; the group's help needs no
# import of any of them.
COMMANDS = {
    "bench": "Compare models, backends and threads: stages, overhead, throughput, memory.",
    "cache": "List, explain, make and remove compiled models.",
    "classify": "Name what pictures show.",
    "detect": "Find objects in pictures.",
    "doctor": "Show what this machine has; with a MODEL, prove that it computes right here.",
    "eval": "Measure a model's accuracy on a data set.",
    "export": "Turn a checkpoint into one self-describing ONNX file.",
    "parity": "Compare backends, devices and precisions on the same pictures.",
    "quantize": "Write a model with int8 arithmetic, calibrated on pictures.",
    "segment": "Label every pixel of pictures.",
    "tune": "Find the fastest way to run a model here that is accurate enough; keep it.",
    "zoo": "List and show the known models.",
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Name the commands, sorted."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import one command; None where there is no such one."""
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"edgevit.cli.{name}"), name)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command list without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, context: click.Context) -> object:
        """Run a command; turn our errors into one sentence and exit code 1."""
        try:
            return super().invoke(context)
        except EdgeVitError as exc:
            if context.params.get("debug"):
                raise
            click.echo(f"edgevit: {exc}", err=True)
            context.exit(1)
        except BrokenPipeError:  # the reader, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            context.exit(1)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgevit")
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
@click.option("-v", "--verbose", is_flag=True, help="Log what is chosen and why.")
def main(debug: bool, verbose: bool) -> None:
    """Edge inference for efficient vision transformers."""
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(name)s: %(message)s", stream=sys.stderr)
