"""Digests of files: of any one, and of an ONNX file with its weights beside it."""

import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path

# In a TensorProto, `external_data` names the file that holds the weights as the text "location" in
# field 1 and the file's name, behind its length, in field 2 (onnx/onnx.proto).
LOCATION = re.compile(rb"\n\x08location(?:\x12([\x80-\xff]*[\x00-\x7f]))?")


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, however large.

    Raises:
        OSError: if it cannot be read.
    """
    from hashlib import sha256  # loads OpenSSL, which most starts do without

    digest = sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def file_digests(model: Path) -> dict[str, str] | None:
    """Digest an ONNX file and the files beside it that hold its weights.

    Returns:
        Hex SHA-256 by name, the model's own under the empty name; None where the file names its
        weights in a way that is not understood, so that nothing must be cached.

    Raises:
        OSError: if the model cannot be read.
        ValueError: if the model is empty.
    """
    digests = {"": file_sha256(model)}
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for name in _locations(content):
            if name is None:
                return None
            path = model.parent / name
            if name not in digests and path.is_file():
                digests[name] = file_sha256(path)
    return digests


def _locations(content: mmap.mmap) -> Iterator[str | None]:
    for match in LOCATION.finditer(content):
        if match[1] is None:
            yield None
            continue
        length = sum((byte & 0x7F) << 7 * index for index, byte in enumerate(match[1]))
        yield os.fsdecode(content[match.end() : match.end() + length])
