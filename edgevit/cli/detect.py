"""`edgevit detect`."""

from pathlib import Path
from typing import Any

import click

from edgevit.cli.command import command
from edgevit.cli.images import answer_images, drawn
from edgevit.cli.options import COUNT, image_options, output_option
from edgevit.core.tasks.results import Detections
from edgevit.predictor import Predictor


@command(
    "edgevit detect photo.jpg --output found.jpg",
    "edgevit detect photo.jpg --class nine --class ten --score-threshold 0.6",
)
@image_options("detect", "a detector", "playing cards")
@click.option(
    "--score-threshold",
    type=click.FloatRange(0, 1),
    metavar="SCORE",
    help="Answer objects with a greater score.  [default: the model's]",
)
@click.option(
    "--max-detections",
    type=COUNT,
    metavar="N",
    help="Answer at most so many objects for each image.  [default: the model's]",
)
@click.option(
    "--class",
    "class_names",
    multiple=True,
    metavar="NAME",
    help="Answer objects of this class alone; may be repeated.",
)
@click.option("--masks", is_flag=True, help="Answer masks as well, as COCO run lengths.")
@output_option("--output", "Write the image with its objects")
def detect(
    *,
    score_threshold: float | None,
    max_detections: int | None,
    class_names: tuple[str, ...],
    masks: bool,
    output: Path | None,
    **common: Any,
) -> None:
    """Find objects in images.

    Boxes are x0 y0 x1 y1 in pixels of the image. An image that cannot be read is reported on
    stderr and the others are still answered; the exit code is 1 then.
    """
    answer_images(
        answer=lambda predictor, image: predictor.detect(
            image,
            score_threshold,
            max_detections,
            class_names=class_names or None,
            masks="rle" if masks else None,
        ),
        describe=lambda predictor, result: (
            _describe(result) or [_nothing(predictor, score_threshold, class_names)]
        ),
        writes=[(output, drawn)],
        **common,
    )


def _nothing(predictor: Predictor, score: float | None, class_names: tuple[str, ...]) -> str:
    least = predictor.spec.head["selection"]["score_threshold"] if score is None else score
    return f"no {' or '.join(class_names) or 'objects'} found above score {least:.2f}"


def _describe(result: Detections) -> list[str]:
    rows = zip(result.class_names, result.scores, result.boxes.tolist(), strict=True)
    return [
        f"{score:6.1%}  {name}  {' '.join(f'{x:.1f}' for x in box)}" for name, score, box in rows
    ]
