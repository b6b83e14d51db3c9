"""What the commands that answer pictures have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edgevit.core.errors import InputError, ModelNotFoundError
from edgevit.core.results import Result
from edgevit.predictor import Predictor

# Each command has its own type of result, which its three functions share.
Answer = Callable[[str], Any]
Describe = Callable[[Any], Sequence[str]]
Picture = Callable[[str, Any], NDArray[np.integer]]


def answer_pictures(
    context: click.Context,
    predictor: Predictor,
    images: tuple[str, ...],
    *,
    answer: Answer,
    describe: Describe,
    as_json: bool,
    output: Path | None,
    picture: Picture,
) -> None:
    """Answer, print and write pictures one after the other.

    A picture that cannot be read is reported on stderr and the others are still answered; the
    exit code is 1 then.

    Args:
        context: ends with exit code 1 where a picture failed.
        predictor: names the model and the backend.
        images: paths of pictures.
        answer: predicts a picture.
        describe: makes the lines that are printed of a result.
        as_json: print one JSON document for each picture instead.
        output: write the picture that `picture` makes: a file, or a folder for several; or None.
        picture: makes, of a picture's path and the result, what is written.
    """
    failed = False
    for image in images:
        try:
            result = answer(image)
            if output is not None:
                _write(picture(image, result), _target(output, image, len(images)))
        except InputError as exc:
            click.echo(f"edgevit: {exc}", err=True)
            failed = True
            continue
        spent = sum(result.timings_ms.values())
        lines = [f"{image}  ({spent:.1f} ms)", *(f"  {line}" for line in describe(result))]
        click.echo(_document(image, result, predictor) if as_json else "\n".join(lines))
    if failed:
        context.exit(1)


def drawn(image: str, result: Result) -> NDArray[np.uint8]:
    """Load a picture and draw a result on it."""
    from edgevit.core.image import load_image
    from edgevit.draw import draw

    return draw(load_image(image).pixels, result)


def require_model(model: str | None, what: str) -> str:
    """Refuse to go on without a model, for tasks that no bundled one has."""
    if model is None:
        raise ModelNotFoundError(
            f"no {what} is bundled yet; pass --model with an exported ONNX file"
        )
    return model


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


def _target(output: Path, image: str, count: int) -> Path:
    if count > 1 or output.is_dir():
        output.mkdir(parents=True, exist_ok=True)
        return output / f"{Path(image).stem}.png"
    return output


def _write(pixels: NDArray[np.integer], target: Path) -> None:
    import cv2

    suffix = target.suffix or ".png"
    try:
        _, encoded = cv2.imencode(suffix, pixels)
        target.write_bytes(encoded.tobytes())
    except (cv2.error, OSError) as exc:
        raise InputError(f"the picture {str(target)!r} cannot be written: {exc}") from exc
