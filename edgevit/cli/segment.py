"""`edgevit segment`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edgevit.cli.options import output_option, picture_options
from edgevit.cli.pictures import answer_pictures, drawn
from edgevit.core.tasks.results import Segmentation
from edgevit.zoo import BUNDLED


@click.command()
@click.option(
    "--model",
    default=BUNDLED["segment"],
    help="ONNX file or zoo name of a segmenter.  [default: the bundled street segmenter]",
)
@picture_options
@output_option("--output", "Write the class map, a PNG of class ids")
@output_option("--overlay", "Write the picture with its classes in colours, to look at")
def segment(model: str, output: Path | None, overlay: Path | None, **common: Any) -> None:
    """Label every pixel of pictures.

    A picture that cannot be read is reported on stderr and the others are still answered; the
    exit code is 1 then.
    """
    if output is not None and output.suffix.lower() not in ("", ".png"):
        raise click.BadParameter(
            f"a class map is a .png, not {output.name!r}", param_hint="--output"
        )
    answer_pictures(
        answer=lambda predictor, image: predictor.segment(image),
        describe=_describe,
        writes=[(output, _class_map), (overlay, drawn)],
        model=model,
        **common,
    )


def _describe(result: Segmentation) -> list[str]:
    counts = result.pixels_per_class()
    order = [index for index in np.argsort(-counts, kind="stable") if counts[index]]
    return [f"{counts[i] / result.class_map.size:6.1%}  {result.class_names[i]}" for i in order]


def _class_map(image: str, result: Segmentation) -> NDArray[np.integer]:
    return result.class_map
