"""Compiled models on disk, so that the second start of a program is fast.

Every entry is two files. `<key>.json` says what the model was made from, and `key` is a digest of
that, so another model, version, device or option never finds the entry. `<key>.blob` holds the
SHA-256 of what OpenVINO exported, then the export itself, so damaged bytes are never given to
OpenVINO, which imports some of them and then computes wrong numbers.

OpenVINO's own cache (property CACHE_DIR) is not used: it checks no bytes, and knows a model file by
name, size and time, so that a file replaced within the clock's tick is answered with the old model.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgevit.backend import write_atomically

LIMIT_BYTES = 2 * 1024**3  # of all blobs in one folder; the least recently used are removed
DIGEST_BYTES = 32

# In a TensorProto, `external_data` names the file that holds the weights as the text "location" in
# field 1 and the file's name, behind its length, in field 2 (onnx/onnx.proto).
LOCATION = re.compile(rb"\n\x08location(?:\x12([\x80-\xff]*[\x00-\x7f]))?")

Facts = Mapping[str, object]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Blob:
    """A compiled model.

    Args:
        content: what OpenVINO exported.
        inputs: ONNX names of the inputs, in the graph's order.
        outputs: ONNX names of the outputs, in the graph's order.
    """

    content: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def file_digests(model: Path) -> dict[str, str] | None:
    """Digest an ONNX file and the files beside it that hold its weights.

    Args:
        model: the ONNX file.

    Returns:
        Hex SHA-256 by name, the model's own under the empty name; None where the file names its
        weights in a way that is not understood, so that nothing must be cached.

    Raises:
        OSError: if the model cannot be read.
        ValueError: if the model is empty.
    """
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        digests = {"": hashlib.sha256(content).hexdigest()}
        for name in _locations(content):
            if name is None:
                return None
            path = model.parent / name
            if name not in digests and path.is_file():
                digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return digests


def find(folder: Path, made_from: Facts) -> Blob | None:
    """Look for a blob.

    Args:
        folder: where blobs are kept.
        made_from: everything the blob depends on, as JSON values.

    Returns:
        The blob with the bytes that were stored, or None; a damaged one is reported as a warning.
    """
    entry = folder / _key(made_from)
    try:
        record = json.loads(entry.with_suffix(".json").read_text("utf-8"))
        content = _checked(entry.with_suffix(".blob").read_bytes())
        blob = Blob(content, tuple(record["inputs"]), tuple(record["outputs"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as exc:
        logger.warning("the cached model %s is not usable (%s); compiling again", entry, exc)
        return None
    _touch(entry.with_suffix(".blob"))
    return blob


def store(folder: Path, made_from: Facts, blob: Blob, model: Path) -> None:
    """Keep a blob, then remove the least recently used ones above `LIMIT_BYTES`.

    A folder that cannot be written is reported as a warning.

    Args:
        folder: where blobs are kept.
        made_from: everything the blob depends on, as JSON values.
        blob: what to keep.
        model: the ONNX file, named in the entry for its reader.
    """
    entry = folder / _key(made_from)
    names = {"inputs": blob.inputs, "outputs": blob.outputs}
    record = {"model": str(model), "made_from": made_from, **names}
    try:
        write_atomically(entry.with_suffix(".json"), json.dumps(record, indent=1).encode())
        write_atomically(entry.with_suffix(".blob"), _digest(blob.content) + blob.content)
        _prune(folder, entry.with_suffix(".blob"))
    except OSError as exc:
        logger.warning("the compiled model is not cached: %s; pass cache=False or a folder", exc)


def _key(made_from: Facts) -> str:
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _checked(stored: bytes) -> bytes:
    digest, content = stored[:DIGEST_BYTES], stored[DIGEST_BYTES:]
    if _digest(content) != digest:
        raise ValueError("its bytes are damaged")
    return content


def _locations(content: mmap.mmap) -> Iterator[str | None]:
    for match in LOCATION.finditer(content):
        if match[1] is None:
            yield None
            continue
        length = sum((byte & 0x7F) << 7 * index for index, byte in enumerate(match[1]))
        yield os.fsdecode(content[match.end() : match.end() + length])


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:  # somebody else's folder: it is read only
        logger.debug("cannot mark %s as used", path)


def _prune(folder: Path, newest: Path) -> None:
    blobs = sorted(_stats(folder), reverse=True)
    size = newest.stat().st_size
    for _, length, path in blobs:
        if path == newest:
            continue
        size += length
        if size > LIMIT_BYTES:
            logger.info("removing %s: the cache holds more than %d bytes", path, LIMIT_BYTES)
            path.unlink(missing_ok=True)
            path.with_suffix(".json").unlink(missing_ok=True)


def _stats(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """Yield (time of last use, size, path) of every blob; another process may remove some."""
    for path in folder.glob("*.blob"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        yield status.st_mtime_ns, status.st_size, path
