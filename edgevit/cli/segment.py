"""`edgevit segment`."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from edgevit.cli.command import command
from edgevit.cli.images import answer_images, drawn
from edgevit.cli.options import image_options, output_option
from edgevit.core.tasks.results import Segmentation
from edgevit.predictor import Predictor


@command(
    "edgevit segment street.jpg --overlay look.jpg",
    "edgevit segment a.jpg b.jpg --output maps",
)
@image_options("segment", "a segmenter", "streets")
@output_option("--output", "Write the class map, a PNG of class ids")
@output_option("--overlay", "Write the image with its classes in colors, to look at")
def segment(*, output: Path | None, overlay: Path | None, **common: Any) -> None:
    """Label every pixel of images.

    An image that cannot be read is reported on stderr and the others are still answered; the exit
    code is 1 then.
    """
    if output is not None and output.suffix.lower() not in ("", ".png"):
        raise click.BadParameter(
            f"a class map is a .png, not {output.name!r}", param_hint="--output"
        )
    answer_images(
        answer=lambda predictor, image: predictor.segment(image),
        describe=_describe,
        writes=[(output, lambda image, result: result.class_map), (overlay, drawn)],
        **common,
    )


def _describe(predictor: Predictor, result: Segmentation) -> list[str]:
    counts = result.pixels_per_class()
    order = [index for index in np.argsort(-counts, kind="stable") if counts[index]]
    return [f"{counts[i] / result.class_map.size:6.1%}  {result.class_names[i]}" for i in order]
