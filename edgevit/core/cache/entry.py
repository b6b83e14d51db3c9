"""One compiled model on disk: its raw bytes, and beside them what is known about it.

`<key>.json` is the sidecar, `<key>` with the runtime's own suffix the raw model. `key` is a digest
of the facts, so another model, version, device or option never finds the entry.

An engine is executable code, so nothing is handed to a runtime before all of this holds: both files
belong to this user or to root and nobody else may write them; the sidecar is, byte for byte, what
edgevit writes for the record in it; the facts are the wanted ones; length and SHA-256 of the raw
model are the recorded ones. Digests find damage and mixed-up files; what keeps out a forger, who
can compute digests too, is the check of the owner.
"""

import hashlib
import json
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

SCHEMA = 1
SIDECAR = ".json"
LOCK = ".lock"
KEY_DIGITS = 32

Facts = Mapping[str, Any]  # JSON values, which ones is the plugin's choice


class UnusableError(Exception):
    """An entry is there but must not be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a sidecar says.

    Args:
        model: absolute path of the ONNX file.
        facts: everything the compiled model depends on, as JSON values.
        extras: what the plugin keeps beside it, as JSON values.
        suffix: of the raw model's file, e.g. `.plan`.
        size_bytes: length of the raw model.
        sha256: of the raw model, in hex.
        built_at: when, in seconds since 1970.
        build_s: how long building took, in seconds.
        why: why it was built, in one line.
    """

    model: str
    facts: Facts
    extras: Mapping[str, Any]
    suffix: str
    size_bytes: int
    sha256: str
    built_at: float
    build_s: float
    why: str

    @property
    def name(self) -> str:
        """Name of the model: its file's, without the suffix."""
        return Path(self.model).stem

    def to_bytes(self) -> bytes:
        """Write the sidecar's JSON, sealed with a digest so that an edit shows."""
        fields = {"schema": SCHEMA, **asdict(self)}
        return json.dumps({**fields, "seal": _digest(fields)}, indent=1).encode()


def key_of(facts: Facts) -> str:
    """Name of the entry for facts: `KEY_DIGITS` hex digits of their digest."""
    return _digest({"schema": SCHEMA, "facts": facts})[:KEY_DIGITS]


def read_record(path: Path) -> Record:
    """Read and check a sidecar.

    Raises:
        FileNotFoundError: if it is not there.
        UnusableError: if it cannot be read, others may have written it, or it is not what edgevit
            writes under this name.
    """
    raw = _read_own(path)
    try:
        fields = json.loads(raw)
        del fields["schema"], fields["seal"]
        record = Record(**fields)
        is_ours = record.to_bytes() == raw and key_of(record.facts) == path.stem
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise UnusableError(f"{path.name} is not a whole record") from exc
    if not is_ours:
        raise UnusableError(f"{path.name} is not as it was written")
    return record


def read_content(path: Path, record: Record) -> bytes:
    """Read and check a raw model.

    Args:
        path: the file.
        record: what its sidecar says.

    Returns:
        The very bytes that were stored. Give these to the runtime, not the path, whose file may
        change again.

    Raises:
        FileNotFoundError: if it is not there.
        UnusableError: if it cannot be read, others may have written it, or it is damaged.
    """
    content = _read_own(path, record.size_bytes)
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise UnusableError(f"{path.name} was damaged (sha256 differs)")
    return content


def _read_own(path: Path, length: int | None = None) -> bytes:
    try:
        with path.open("rb") as file:
            found = _checked_length(file, path)
            if length is not None and found != length:
                raise UnusableError(f"{path.name} was damaged ({found} bytes, not {length})")
            return file.read()
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise FileNotFoundError(f"there is no file {str(path)!r}") from exc
    except OSError as exc:
        raise UnusableError(f"{path.name} cannot be read ({exc.strerror})") from exc


def _checked_length(file: BinaryIO, path: Path) -> int:
    status = os.fstat(file.fileno())
    if sys.platform != "win32":  # files there have other owners and modes
        if status.st_uid not in (os.geteuid(), 0):
            raise UnusableError(f"{path.name} belongs to another user (uid {status.st_uid})")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            mode = f"{stat.S_IMODE(status.st_mode):04o}"
            raise UnusableError(f"{path.name} may be written by other users (mode {mode})")
    return status.st_size


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
