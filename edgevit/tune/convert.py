"""Convert a model to other precisions, once, into the cache.

Converters are part of edgevit but need the `onnx` package, which a small device may lack. What
cannot be converted is left out of the search with the reason.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from edgevit import __version__
from edgevit.core.cache.digests import file_sha256
from edgevit.core.cache.files import cache_dir
from edgevit.core.image.files import evenly_spaced
from edgevit.core.image.load import load_image
from edgevit.core.model.precision import precision_of
from edgevit.errors import EdgeVitError, ExportError, InputError, install_hint
from edgevit.tune.candidate import ModelFile
from edgevit.tune.inputs import Inputs

CONVERTED_IMAGES = 128  # that converters calibrate and check with

Say = Callable[[str], object]
Converter = Callable[[Path, Path, Sequence[Path], Say], object]


def to_fp16(source: Path, output: Path, images: Sequence[Path], say: Say) -> object:
    """Write a file that computes in half precision; see `edgevit.convert`."""
    with _explained():
        from edgevit.convert import convert_to_fp16
    pixels = (load_image(path).pixels for path in images)
    return convert_to_fp16(source, output, images=pixels, progress=say)


def to_int8(source: Path, output: Path, images: Sequence[Path], say: Say) -> object:
    """Write a quantized file; see `edgevit.convert`."""
    with _explained():
        from edgevit.convert import quantize
    return quantize(source, output, images, progress=lambda step, done, total: say(step))


@contextmanager
def _explained() -> Iterator[None]:
    """Converters need the onnx package; say so where it is missing."""
    try:
        yield
    except ImportError as exc:
        raise ExportError(
            f"converting needs {exc.name}, which is not installed: {install_hint('quantize')}"
        ) from exc


CONVERTERS: Mapping[str, Converter] = {"fp16": to_fp16, "int8": to_int8}


def converted_dir() -> Path:
    """Folder of converted models; may not exist yet."""
    return cache_dir() / "converted"


def runnable_files(
    inputs: Inputs,
    precisions: Sequence[str] | None,
    *,
    converters: Mapping[str, Converter] = CONVERTERS,
    say: Say = lambda what: None,
) -> tuple[list[ModelFile], list[str]]:
    """Find and convert what can run in the place of the models.

    Args:
        inputs: the models, and the images to calibrate and check with.
        precisions: which are wanted; None for all that can be had.
        converters: by precision, what makes it of a file.
        say: called with what is being done.

    Returns:
        The files, and a note on each precision that is left out.

    Raises:
        InputError: if nothing is left.
    """
    images = evenly_spaced(inputs.images, CONVERTED_IMAGES)
    files: list[ModelFile] = []
    notes: list[str] = []
    for model in inputs.models:
        found, left_out = model_files(
            model.path, precisions, images, converters=converters, say=say
        )
        files += found
        notes += left_out
    if not files:
        raise InputError(f"no model can be had in the precisions {precisions}: {notes}")
    return files, notes


def model_files(
    model: Path,
    precisions: Sequence[str] | None,
    images: Sequence[Path],
    *,
    converters: Mapping[str, Converter] = CONVERTERS,
    say: Say = lambda what: None,
) -> tuple[list[ModelFile], list[str]]:
    """Find or make the files that can run in the place of a model.

    Args:
        model: the model's file.
        precisions: which are wanted; None for all that can be had.
        images: files to calibrate and check with.
        converters: by precision, what makes it of a file.
        say: called with what is being done.

    Returns:
        The files, the model's own first where its precision is wanted, and a note on each
        precision that is left out.
    """
    own = precision_of(model)
    own = "fp32" if own == "fp16-weights" else own  # what it computes in
    files, notes = [], []
    if precisions is None or own in precisions:
        files.append(ModelFile(model, model, own))
    for precision, convert in converters.items():
        if precision == own or (precisions is not None and precision not in precisions):
            continue
        try:
            path = _converted(model, precision, images, convert=convert, say=say)
        except EdgeVitError as exc:
            notes.append(f"{model.name}: {precision} is left out: {exc}")
        else:
            files.append(ModelFile(model, path, precision))
    return files, notes


def _converted(
    model: Path, precision: str, images: Sequence[Path], *, convert: Converter, say: Say
) -> Path:
    path = converted_dir() / f"{model.stem}-{precision}-{_key(model, images)}.onnx"
    if path.is_file():
        return path
    say(f"converting {model.name} to {precision}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Converters need a name that ends like a model's.
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        convert(model, temporary, images, say)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _key(model: Path, images: Sequence[Path]) -> str:
    """Digest of all that a conversion depends on."""
    seen = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in images]
    facts = [file_sha256(model), seen, __version__]
    return sha256(json.dumps(facts).encode()).hexdigest()[:16]
