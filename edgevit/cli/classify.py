"""`edgevit classify`."""

from pathlib import Path
from typing import Any

import click

from edgevit.cli.command import command
from edgevit.cli.images import answer_images, drawn
from edgevit.cli.options import COUNT, image_options, output_option
from edgevit.core.tasks.results import Classification
from edgevit.predictor import Predictor


@command(
    "edgevit classify photo.jpg",
    "edgevit classify *.jpg --model cas_vit_s.onnx --top-k 1 --json",
)
@image_options("classify", "a classifier", "CIFAR-10")
@click.option(
    "--top-k",
    type=COUNT,
    metavar="N",
    default=5,
    help="How many classes to answer, the best first.",
)
@output_option("--output", "Write the image with its classes")
def classify(*, top_k: int, output: Path | None, **common: Any) -> None:
    """Name what images show.

    An image that cannot be read is reported on stderr and the others are still answered; the exit
    code is 1 then.
    """
    answer_images(
        answer=lambda predictor, image: predictor.classify(image, top_k=top_k),
        describe=_describe,
        writes=[(output, drawn)],
        **common,
    )


def _describe(predictor: Predictor, result: Classification) -> list[str]:
    rows = zip(result.class_names, result.scores, strict=True)
    return [f"{score:6.1%}  {name}" for name, score in rows]
