"""Label pictures: the class id of every pixel, as it stands in a PNG.

Picture readers turn a palette's indices into its colours and spread samples of fewer than eight
bits over 0-255. Either loses the ids, so a PNG is read here as plain grey samples.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from struct import pack, unpack_from

import cv2
import numpy as np
from numpy.typing import NDArray

from edgevit.core.image.header import read_header
from edgevit.errors import InputError

GREY, PALETTE = 0, 3  # PNG's colour types with one sample for each pixel

LabelMap = NDArray[np.uint8] | NDArray[np.uint16]


def read_label_map(path: Path) -> LabelMap:
    """Read a label picture.

    Args:
        path: a PNG, grey or with a palette, of 1 to 16 bits.

    Returns:
        uint8 or uint16 (H, W): grey samples, or indices of the palette, as the file has them.

    Raises:
        InputError: if the file cannot be read, is damaged, or has colours.
    """
    try:
        data = path.read_bytes()
        header = read_header(data)
    except (OSError, InputError) as exc:
        raise InputError(f"the labels {str(path)!r} cannot be read: {exc}") from exc
    if header.format != "PNG" or data[25] not in (GREY, PALETTE):
        raise InputError(
            f"the labels {str(path)!r} are a picture in colours; accepted: a PNG whose grey values "
            "or palette indices are class ids"
        )
    depth = data[24]
    samples = cv2.imdecode(np.frombuffer(_grey(header.encoded), np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None:
        raise InputError(f"the labels {str(path)!r} are damaged")
    if depth == 16:
        return samples.astype(np.uint16, copy=False)
    return (samples // (255 // ((1 << depth) - 1))).astype(np.uint8, copy=False)


def _grey(encoded: bytes) -> bytes:
    """The same samples as a grey PNG, without palette and transparency."""
    parts, position = [encoded[:8]], 8
    while position < len(encoded):
        (length,) = unpack_from(">I", encoded, position)
        chunk = encoded[position : position + length + 12]  # length, kind, body, checksum
        position += len(chunk)
        if chunk[4:8] == b"IHDR":
            body = chunk[4:17] + bytes([GREY]) + chunk[18:-4]
            chunk = chunk[:4] + body + pack(">I", zlib.crc32(body))
        if chunk[4:8] not in (b"PLTE", b"tRNS"):
            parts.append(chunk)
    return b"".join(parts)
