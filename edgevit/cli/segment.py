"""`edgevit segment`."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from edgevit.cli.options import picture_options
from edgevit.cli.pictures import answer_pictures, require_model
from edgevit.core.results import Segmentation
from edgevit.predictor import Predictor


@click.command()
@click.option("--model", help="ONNX file or zoo name of a segmenter.")
@picture_options
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Write the class map, a PNG of class ids: a file, or a folder for several pictures.",
)
@click.pass_context
def segment(
    context: click.Context,
    images: tuple[str, ...],
    model: str | None,
    backend: str,
    device: str,
    threads: int | None,
    preprocess: str | None,
    as_json: bool,
    output: Path | None,
) -> None:
    """Label every pixel of pictures.

    A picture that cannot be read is reported on stderr and the others are still answered; the
    exit code is 1 then.
    """
    if output is not None and output.suffix.lower() not in ("", ".png"):
        raise click.BadParameter(
            f"a class map is a .png, not {output.name!r}", param_hint="--output"
        )
    with Predictor(
        require_model(model, "segmenter"),
        backend=backend,
        device=device,
        threads=threads,
        preprocess=preprocess,
    ) as predictor:
        answer_pictures(
            context,
            predictor,
            images,
            answer=predictor.segment,
            describe=_describe,
            as_json=as_json,
            output=output,
            picture=_class_map,
        )


def _describe(result: Segmentation) -> list[str]:
    counts = result.pixels_per_class()
    order = [index for index in np.argsort(-counts, kind="stable") if counts[index]]
    return [f"{counts[i] / result.class_map.size:6.1%}  {result.class_names[i]}" for i in order]


def _class_map(image: str, result: Segmentation) -> NDArray[np.integer]:
    return result.class_map
