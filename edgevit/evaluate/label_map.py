"""Label images: the class id of every pixel, as it stands in a PNG.

OpenCV would turn a palette's indices into its colors; Pillow keeps them.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevit.core.image.header import read_header
from edgevit.errors import InputError, require_package

GRAY, PALETTE = 0, 3  # PNG's color types with one sample for each pixel

LabelMap = NDArray[np.uint8] | NDArray[np.uint16]


def require_pillow() -> None:
    """Check that label images can be read here.

    Raises:
        EdgeVitError: if Pillow is not installed.
    """
    require_package("PIL.Image", "eval", "label images are read with Pillow")


def read_label_map(path: Path) -> LabelMap:
    """Read a label image.

    Args:
        path: a PNG, gray or with a palette, of 1 to 16 bits.

    Returns:
        uint8 or uint16 (H, W): gray samples, or indices of the palette, as the file has them.

    Raises:
        InputError: if the file cannot be read, is damaged, or has colors.
        EdgeVitError: if Pillow, of the extra `eval`, is not installed.
    """
    require_pillow()
    try:
        data = path.read_bytes()
        header = read_header(data)
    except (OSError, InputError) as exc:
        raise InputError(f"the labels {str(path)!r} cannot be read: {exc}") from exc
    if header.format != "PNG" or data[25] not in (GRAY, PALETTE):
        raise InputError(
            f"the labels {str(path)!r} are an image in colors; accepted: a PNG whose gray values "
            "or palette indices are class ids"
        )
    return _samples(header.encoded, path, depth=data[24])


def _samples(encoded: bytes, path: Path, depth: int) -> LabelMap:
    from PIL import Image

    try:
        with Image.open(BytesIO(encoded), formats=["PNG"]) as image:
            samples = np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as exc:
        raise InputError(f"the labels {str(path)!r} are damaged: {exc}") from exc
    if depth == 16:
        return samples.astype(np.uint16)
    if image.mode == "L":  # gray samples of fewer than eight bits are spread over 0-255
        samples = samples // (255 // ((1 << depth) - 1))
    return samples.astype(np.uint8)
