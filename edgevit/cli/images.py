"""What the commands that answer images have in common."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edgevit.cli.command import tell
from edgevit.core.tasks.results import Result
from edgevit.errors import InputError, ModelError
from edgevit.predictor import Predictor
from edgevit.zoo import load_zoo

# Each command has its own type of result, which its functions share.
Answer = Callable[[Predictor, str], Any]
Describe = Callable[[Predictor, Any], Sequence[str]]
Draw = Callable[[str, Any], NDArray[np.integer]]


def answer_images(
    *,
    answer: Answer,
    describe: Describe,
    writes: Sequence[tuple[Path | None, Draw]],
    images: tuple[str, ...],
    as_json: bool,
    **runtime: Any,
) -> None:
    """Load the model, say what its terms ask for, then answer, print and write image by image.

    An image that cannot be read is reported on stderr and the others are still answered; the exit
    code is 1 then.

    Args:
        answer: predicts an image.
        describe: makes the lines that are printed of a result.
        writes: what to write of each image: where (a file, or a folder for several images; None
            for nowhere), and what makes it of the image's path and the result.
        images: paths of images.
        as_json: print one JSON document for each image instead.
        runtime: what Predictor takes, from the command's options.
    """
    failed = False
    with Predictor(**runtime) as predictor:
        _require_task(predictor)
        _say_notice(predictor)
        for image in images:
            try:
                result = answer(predictor, image)
                _write_all(writes, image, result, to_folders=len(images) > 1)
            except InputError as exc:
                tell(exc)
                failed = True
                continue
            spent = sum(result.timings_ms.values())
            lines = [
                f"{image}  ({spent:.1f} ms)",
                *(f"  {line}" for line in describe(predictor, result)),
            ]
            click.echo(_document(image, result, predictor) if as_json else "\n".join(lines))
    if failed:
        click.get_current_context().exit(1)


def drawn(image: str, result: Result) -> NDArray[np.uint8]:
    """Load an image and draw a result on it."""
    from edgevit.core.image.load import load_image
    from edgevit.drawing import draw

    return draw(load_image(image).pixels, result)


def _require_task(predictor: Predictor) -> None:
    """A command has the name of its task."""
    own, context = predictor.spec.task, click.get_current_context()
    if own != context.command.name:
        raise ModelError(
            f"{predictor.spec.name!r} is a model for {own}, not for {context.command.name}; "
            f"use `edgevit {own} IMAGE --model {context.params['model']}`"
        )


def _say_notice(predictor: Predictor) -> None:
    entry = load_zoo().get(predictor.spec.name)
    if entry is not None and entry.notice is not None:
        click.echo(f"{entry.name}: {entry.notice}", err=True)


def _document(image: str, result: Result, predictor: Predictor) -> str:
    return json.dumps(
        {
            "image": image,
            "model": predictor.spec.name,
            "backend": predictor.backend,
            "task": predictor.spec.task,
            "result": result.to_dict(),
            "timings_ms": dict(result.timings_ms),
        },
        ensure_ascii=False,
    )


def _write_all(
    writes: Sequence[tuple[Path | None, Draw]], image: str, result: Result, *, to_folders: bool
) -> None:
    for output, draw in writes:
        if output is None:
            continue
        if to_folders or output.is_dir():
            output.mkdir(parents=True, exist_ok=True)
            output = output / f"{Path(image).stem}.png"
        _write(draw(image, result), output)


def _write(pixels: NDArray[np.integer], target: Path) -> None:
    import cv2

    suffix = target.suffix or ".png"
    try:
        _, encoded = cv2.imencode(suffix, pixels)
        target.write_bytes(encoded.tobytes())
    except (cv2.error, OSError) as exc:
        raise InputError(f"the image {str(target)!r} cannot be written: {exc}") from exc
