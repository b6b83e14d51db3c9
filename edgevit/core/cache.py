"""Where edgevit keeps what it can make again: compiled models, downloaded models."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_dir() -> Path:
    """Folder of this user's edgevit caches; may not exist yet.

    Returns:
        `$EDGEVIT_CACHE`, or `edgevit` in the platform's cache folder: `$XDG_CACHE_HOME` or
        `~/.cache` on Linux, `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows.
    """
    if chosen := os.environ.get("EDGEVIT_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "edgevit"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "edgevit"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgevit"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that no reader ever sees a part of it.

    Args:
        path: the file; its folder is made if needed.
        content: what it shall hold.

    Raises:
        OSError: if the folder cannot be written or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile's: its files are private to the user, whatever the umask says.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
