"""How the commands behave alike: their errors, suggestions, examples, -v and --debug."""

import logging
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import click

from edgevit.cli.options import RENAMED
from edgevit.errors import EXTRAS, EdgeVitError, install_hint, suggestion

ARGUMENT = re.compile(r"`(\w+)(?:=([^`]+))?`")  # how our messages name an argument of Python


class Command(click.Command):
    """A command that takes -v and --debug, too, and ends an error of ours in one sentence."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:  # click's, all of them
        super().__init__(*arguments, **settings)
        self.context_settings = {"show_default": True, **self.context_settings}
        self.params += [
            _switch("-v", "--verbose", _set_verbose, "Log what is chosen and why."),
            _switch("--debug", "--debug", _set_debug, "Show the traceback of a failure."),
        ]

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Parse, and name the option that a former spelling has become."""
        try:
            return super().parse_args(context, arguments)
        except click.NoSuchOption as exc:
            option = RENAMED.get((self.name or "", exc.option_name))
            if option is None:
                raise
            message = f"{exc.option_name} is spelled {option} now"
            raise click.UsageError(message, context) from exc

    def invoke(self, context: click.Context) -> object:
        """Run; turn our errors into one sentence and exit code 1."""
        try:
            return super().invoke(context)
        except EdgeVitError as exc:
            if "debug" in context.meta:
                raise
            tell(exc)
            context.exit(1)


class Group(Command, click.Group):
    """A group of such commands, which suggests one where a name is mistyped."""

    command_class = Command

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name."""
        known, name = self.list_commands(context), arguments[0]
        if name not in known and not name.startswith("-"):
            context.fail(
                f"there is no command {name!r}{suggestion(name, known)}; "
                f"there are {', '.join(known)}"
            )
        return super().resolve_command(context, arguments)

    def summaries(self, context: click.Context) -> dict[str, str]:
        """What each command does, in a sentence."""
        return {name: command.get_short_help_str(200) for name, command in self.commands.items()}

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands with whole sentences."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(self.summaries(context).items()))


def tell(error: EdgeVitError) -> None:
    """Write an error to stderr, with the command's options in place of Python's arguments."""
    options = {
        parameter.name: max(parameter.opts, key=len)
        for parameter in click.get_current_context().command.params
        if isinstance(parameter, click.Option)
    }

    def spelled(found: re.Match[str]) -> str:
        name, value = found.groups()
        if name not in options:
            return found[0]
        return " ".join([options[name], *([value.strip("'")] if value else [])])

    click.echo(f"edgevit: {ARGUMENT.sub(spelled, str(error))}", err=True)


def command(*lines: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command whose help ends in examples; the function takes what its options say."""
    return click.command(cls=Command, epilog=examples(*lines))


def examples(*lines: str) -> str:
    """Make the epilog of a command's help."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def require_extra(extra: str, doing: str) -> None:
    """Refuse a command whose packages are not installed.

    Args:
        extra: what they are listed under.
        doing: what needs them.

    Raises:
        EdgeVitError: naming the absent ones, and how to install all.
    """
    names = [re.split(r"[^\w-]", requirement)[0] for requirement in EXTRAS[extra]]
    missing = [name for name in names if find_spec(name.replace("-", "_")) is None]
    if missing:
        raise EdgeVitError(
            f"{doing} needs {', '.join(missing)}; on a workstation: {install_hint(extra)}. "
            "The device itself needs none of it"
        )


def _switch(
    short: str, name: str, act: Callable[[click.Context], None], described: str
) -> click.Option:
    def callback(context: click.Context, parameter: click.Parameter, is_set: bool) -> None:
        if is_set:
            act(context)

    names = list(dict.fromkeys((short, name)))
    return click.Option(names, is_flag=True, expose_value=False, callback=callback, help=described)


def _set_debug(context: click.Context) -> None:
    context.meta["debug"] = True


def _set_verbose(context: click.Context) -> None:
    logging.getLogger().setLevel(logging.INFO)
