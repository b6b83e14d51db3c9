"""The one progress bar of all commands that take long."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Show = Callable[[str, int, int], None]


@contextmanager
def progress_bar(*, tells_steps: bool = False) -> Iterator[Show]:
    """Show on stderr how far the present step is; nothing where stderr is not a terminal.

    Args:
        tells_steps: where stderr is not a terminal, write a line when a step is done.

    Returns:
        A context that gives a function of the step's name, how much of it is done, and of how much.
    """
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    bar = progress.add_task("starting", total=None)

    def show(step: str, done: int, total: int) -> None:
        progress.update(bar, description=step, completed=done, total=total)
        if tells_steps and not console.is_terminal and done == total:
            click.echo(f"{step}: done", err=True)

    with progress:
        yield show
