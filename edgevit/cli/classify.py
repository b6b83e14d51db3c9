"""`edgevit classify`."""

from __future__ import annotations

from pathlib import Path

import click

from edgevit.cli.options import picture_options
from edgevit.cli.pictures import answer_pictures, drawn
from edgevit.core.results import Classification
from edgevit.predictor import Predictor


@click.command()
@click.option("--model", help="ONNX file or zoo name.  [default: the bundled classifier]")
@picture_options
@click.option("--top-k", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Write the picture with its classes: a file, or a folder for several pictures.",
)
@click.pass_context
def classify(
    context: click.Context,
    images: tuple[str, ...],
    model: str | None,
    backend: str,
    device: str,
    threads: int | None,
    preprocess: str | None,
    top_k: int,
    as_json: bool,
    output: Path | None,
) -> None:
    """Name what pictures show.

    A picture that cannot be read is reported on stderr and the others are still answered; the
    exit code is 1 then.
    """
    with Predictor(
        model, backend=backend, device=device, threads=threads, preprocess=preprocess
    ) as predictor:
        answer_pictures(
            context,
            predictor,
            images,
            answer=lambda image: predictor.classify(image, top_k=top_k),
            describe=_describe,
            as_json=as_json,
            output=output,
            picture=drawn,
        )


def _describe(result: Classification) -> list[str]:
    rows = zip(result.class_names, result.scores, strict=True)
    return [f"{score:6.1%}  {name}" for name, score in rows]
