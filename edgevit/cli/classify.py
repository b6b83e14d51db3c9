"""`edgevit classify`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgevit.cli.options import runtime_options
from edgevit.core.errors import InputError
from edgevit.core.results import Classification
from edgevit.predictor import Predictor


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--model", help="ONNX file or zoo name.  [default: the bundled classifier]")
@runtime_options
@click.option("--preprocess", type=click.Choice(["exact", "fast"]), help="Resampling.")
@click.option("--top-k", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON document for each picture.")
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
    failed = False
    with Predictor(
        model, backend=backend, device=device, threads=threads, preprocess=preprocess
    ) as predictor:
        for image in images:
            try:
                result = predictor.classify(image, top_k=top_k)
                if output is not None:
                    _write_picture(image, result, _target(output, image, len(images)))
            except InputError as exc:
                click.echo(f"edgevit: {exc}", err=True)
                failed = True
                continue
            click.echo(_document(image, result, predictor) if as_json else _text(image, result))
    if failed:
        context.exit(1)


def _text(image: str, result: Classification) -> str:
    rows = zip(result.class_names, result.scores, strict=True)
    lines = [f"  {score:6.1%}  {name}" for name, score in rows]
    spent = sum(result.timings_ms.values())
    return "\n".join([f"{image}  ({spent:.1f} ms)", *lines])


def _document(image: str, result: Classification, predictor: Predictor) -> str:
    return json.dumps(
        {
            "image": image,
            "model": predictor.spec.name,
            "backend": predictor.backend,
            "task": "classify",
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


def _write_picture(image: str, result: Classification, target: Path) -> None:
    import cv2

    from edgevit.core.image import load_image
    from edgevit.draw import draw

    suffix = target.suffix or ".png"
    try:
        _, encoded = cv2.imencode(suffix, draw(load_image(image).pixels, result))
        target.write_bytes(encoded.tobytes())
    except (cv2.error, OSError) as exc:
        raise InputError(f"the picture {str(target)!r} cannot be written: {exc}") from exc
