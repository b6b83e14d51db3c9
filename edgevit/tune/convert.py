"""Convert a model to other precisions, once, into the cache.

Converters are part of edgevit but need the `onnx` package, which a small device may lack. What
cannot be converted is left out of the search with the reason.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevit import __version__
from edgevit.core.cache import cache_dir
from edgevit.core.errors import EdgeVitError, ExportError
from edgevit.core.onnx_file import read_precision
from edgevit.core.profile import digest_of
from edgevit.tune.candidate import ModelFile

Images = Sequence[NDArray[np.uint8]]
Say = Callable[[str], object]
Converter = Callable[[Path, Path, Images, Say], object]


def to_half(source: Path, output: Path, images: Images, say: Say) -> object:
    """Write the half-precision form of a file; see `edgevit.export.half.convert_to_half`."""
    from edgevit.export.half import convert_to_half

    return convert_to_half(source, output, images=images, progress=say)


CONVERTERS: Mapping[str, Converter] = {"fp16": to_half}


def converted_dir() -> Path:
    """Folder of converted models; may not exist yet."""
    return cache_dir() / "converted"


def model_files(
    model: Path,
    precisions: Sequence[str] | None,
    images: Images,
    *,
    converters: Mapping[str, Converter] = CONVERTERS,
    say: Say = lambda what: None,
) -> tuple[list[ModelFile], list[str]]:
    """Find or make the files that can run in the place of a model.

    Args:
        model: the model's file.
        precisions: which are wanted; None for all that can be had.
        images: uint8 (H, W, 3), BGR, to calibrate and check with.
        converters: what can make a precision of a float32 file.
        say: called with what is being done.

    Returns:
        The files, the model's own first where its precision is wanted, and a note on each
        precision that is left out.
    """
    own = read_precision(model) or "fp32"
    files, notes = [], []
    if precisions is None or own in precisions:
        files.append(ModelFile(model, model, own))
    for precision in (*CONVERTERS, *sorted(set(converters) - set(CONVERTERS))):
        if precision == own or (precisions is not None and precision not in precisions):
            continue
        try:
            path = _converted(model, own, precision, images, converters, say)
        except EdgeVitError as exc:
            notes.append(f"{model.name}: {precision} is left out: {exc}")
        else:
            files.append(ModelFile(model, path, precision))
    return files, notes


def _converted(
    model: Path,
    own: str,
    precision: str,
    images: Images,
    converters: Mapping[str, Converter],
    say: Say,
) -> Path:
    if own != "fp32":
        raise ExportError(f"only float32 files are converted, this one is {own}")
    path = converted_dir() / f"{model.stem}-{precision}-{_key(model, images)}.onnx"
    if path.is_file():
        return path
    if find_spec("onnx") is None:
        raise ExportError("converting needs the onnx package: pip install 'edgevit[export]'")
    say(f"converting {model.name} to {precision}")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Converters need a name that ends like a model's.
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        converters[precision](model, temporary, images, say)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _key(model: Path, images: Images) -> str:
    """Digest of all that the conversion depends on."""
    pictures = sha256()
    for image in images:
        pictures.update(repr(image.shape).encode())
        pictures.update(np.ascontiguousarray(image).data)
    facts = [digest_of(model), pictures.hexdigest(), __version__]
    return sha256(json.dumps(facts).encode()).hexdigest()[:16]
