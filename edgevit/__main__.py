"""`python -m edgevit`: the command line."""

from edgevit.cli import main

main(prog_name="edgevit")
