"""`edgevit classify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgevit.cli.options import output_option, picture_options
from edgevit.cli.pictures import answer_pictures, drawn
from edgevit.core.tasks.results import Classification


@click.command()
@click.option("--model", help="ONNX file or zoo name.  [default: the bundled classifier]")
@picture_options
@click.option("--top-k", type=click.IntRange(min=1), default=5, show_default=True)
@output_option("--output", "Write the picture with its classes")
def classify(top_k: int, output: Path | None, **common: Any) -> None:
    """Name what pictures show.

    A picture that cannot be read is reported on stderr and the others are still answered; the
    exit code is 1 then.
    """
    answer_pictures(
        answer=lambda predictor, image: predictor.classify(image, top_k=top_k),
        describe=_describe,
        writes=[(output, drawn)],
        **common,
    )


def _describe(result: Classification) -> list[str]:
    rows = zip(result.class_names, result.scores, strict=True)
    return [f"{score:6.1%}  {name}" for name, score in rows]
