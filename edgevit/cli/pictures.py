"""What the commands that answer pictures have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edgevit.core.tasks.results import Result
from edgevit.errors import InputError
from edgevit.predictor import Predictor
from edgevit.zoo import load_zoo

# Each command has its own type of result, which its functions share.
Answer = Callable[[Predictor, str], Any]
Describe = Callable[[Any], Sequence[str]]
Picture = Callable[[str, Any], NDArray[np.integer]]


def answer_pictures(
    *,
    answer: Answer,
    describe: Describe,
    writes: Sequence[tuple[Path | None, Picture]],
    images: tuple[str, ...],
    as_json: bool,
    **runtime: Any,
) -> None:
    """Load the model, say what its terms ask for, then answer, print and write picture by picture.

    A picture that cannot be read is reported on stderr and the others are still answered; the
    exit code is 1 then.

    Args:
        answer: predicts a picture.
        describe: makes the lines that are printed of a result.
        writes: what to write of each picture: where (a file, or a folder for several pictures;
            None for nowhere), and what makes it of the picture's path and the result.
        images: paths of pictures.
        as_json: print one JSON document for each picture instead.
        runtime: what Predictor takes, from the command's options.
    """
    failed = False
    with Predictor(**runtime) as predictor:
        _say_notice(predictor)
        for image in images:
            try:
                result = answer(predictor, image)
                _write_all(writes, image, result, to_folders=len(images) > 1)
            except InputError as exc:
                click.echo(f"edgevit: {exc}", err=True)
                failed = True
                continue
            spent = sum(result.timings_ms.values())
            lines = [f"{image}  ({spent:.1f} ms)", *(f"  {line}" for line in describe(result))]
            click.echo(_document(image, result, predictor) if as_json else "\n".join(lines))
    if failed:
        click.get_current_context().exit(1)


def drawn(image: str, result: Result) -> NDArray[np.uint8]:
    """Load a picture and draw a result on it."""
    from edgevit.core.image.load import load_image
    from edgevit.drawing import draw

    return draw(load_image(image).pixels, result)


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
    writes: Sequence[tuple[Path | None, Picture]], image: str, result: Result, *, to_folders: bool
) -> None:
    for output, picture in writes:
        if output is None:
            continue
        if to_folders or output.is_dir():
            output.mkdir(parents=True, exist_ok=True)
            output = output / f"{Path(image).stem}.png"
        _write(picture(image, result), output)


def _write(pixels: NDArray[np.integer], target: Path) -> None:
    import cv2

    suffix = target.suffix or ".png"
    try:
        _, encoded = cv2.imencode(suffix, pixels)
        target.write_bytes(encoded.tobytes())
    except (cv2.error, OSError) as exc:
        raise InputError(f"the picture {str(target)!r} cannot be written: {exc}") from exc
