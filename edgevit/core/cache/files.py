"""Where edgevit keeps what it can make again: compiled models, downloaded models."""

import os
import sys
from functools import partial
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


def absolute_path(path: Path) -> Path:
    """Say where a file is, as records keep it: without `..`, and links are not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - `resolve` follows links


def write_atomically(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file so that no reader, and no power cut, ever leaves a part of it.

    Args:
        path: the file; its folder is made if needed.
        content: what it shall hold.
        mode: permissions of the file, less what the umask takes.

    Raises:
        OSError: if the folder cannot be written or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile's: its files are private to the user, whatever the umask says.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with open(temporary, "xb", opener=partial(os.open, mode=mode)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder outlast a power cut, where the system can.

    Raises:
        OSError: if the disk fails.
    """
    if sys.platform == "win32":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
