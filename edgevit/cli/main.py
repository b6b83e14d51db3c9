"""`edgevit`: the command group and its lazily imported commands."""

import logging
import os
import sys
from importlib import import_module

import click

from edgevit import __version__
from edgevit.cli.command import Group, examples

# Command -> what it does. A module of edgevit.cli defines each under the same name; the group's
# help needs no import of any of them.
COMMANDS = {
    "bench": "Compare models, backends and threads: stages, overhead, throughput, memory.",
    "cache": "List, explain, make and remove compiled models.",
    "classify": "Name what images show.",
    "detect": "Find objects in images.",
    "doctor": "Show what this machine has; with a MODEL, prove that it computes right here.",
    "eval": "Measure a model's accuracy on a data set.",
    "export": "Turn a checkpoint into one self-describing ONNX file.",
    "parity": "Compare backends, devices and precisions on the same images.",
    "quantize": "Write a model with int8 arithmetic, calibrated on images.",
    "segment": "Label every pixel of images.",
    "tune": "Find the fastest way to run a model here that is accurate enough; keep it.",
    "zoo": "List and show the known models.",
}


class LazyGroup(Group):
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

    def summaries(self, context: click.Context) -> dict[str, str]:
        """What each command does, without importing any."""
        return COMMANDS

    def invoke(self, context: click.Context) -> object:
        """Run a command; end quietly where nobody reads on."""
        try:
            return super().invoke(context)
        except BrokenPipeError:  # the reader, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            context.exit(1)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "edgevit classify photo.jpg",
        "edgevit detect photo.jpg --output found.jpg",
        "edgevit COMMAND --help",
    ),
)
@click.version_option(__version__, prog_name="edgevit")
def main() -> None:
    """Edge inference for efficient vision transformers."""
    logging.basicConfig(format="%(name)s: %(message)s", stream=sys.stderr)
