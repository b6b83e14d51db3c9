"""`edgevit detect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgevit.cli.options import output_option, picture_options
from edgevit.cli.pictures import answer_pictures, drawn
from edgevit.core.tasks.results import Detections
from edgevit.zoo import BUNDLED


@click.command()
@click.option(
    "--model",
    default=BUNDLED["detect"],
    help="ONNX file or zoo name of a detector.  [default: the bundled playing-card detector]",
)
@picture_options
@click.option(
    "--score-threshold",
    type=click.FloatRange(0, 1),
    help="A detection's score is greater.  [default: the model's]",
)
@click.option(
    "--max-detections",
    type=click.IntRange(min=1),
    help="Answer at most so many for each picture.  [default: the model's]",
)
@click.option("--class", "class_names", multiple=True, help="Only this class; may be repeated.")
@click.option("--masks", is_flag=True, help="Answer masks as well, as COCO run lengths.")
@output_option("--output", "Write the picture with its objects")
def detect(
    model: str,
    score_threshold: float | None,
    max_detections: int | None,
    class_names: tuple[str, ...],
    masks: bool,
    output: Path | None,
    **common: Any,
) -> None:
    """Find objects in pictures.

    Boxes are x0 y0 x1 y1 in pixels of the picture. A picture that cannot be read is reported on
    stderr and the others are still answered; the exit code is 1 then.
    """
    answer_pictures(
        answer=lambda predictor, image: predictor.detect(
            image,
            score_threshold,
            max_detections,
            class_names=class_names or None,
            masks="rle" if masks else None,
        ),
        describe=_describe,
        writes=[(output, drawn)],
        model=model,
        **common,
    )


def _describe(result: Detections) -> list[str]:
    rows = zip(result.class_names, result.scores, result.boxes.tolist(), strict=True)
    return [
        f"{score:6.1%}  {name}  {' '.join(f'{x:.1f}' for x in box)}" for name, score, box in rows
    ]
