"""The command line. The only part of edgevit that prints or exits."""

from edgevit.cli.main import main

__all__ = ["main"]
