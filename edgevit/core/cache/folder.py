"""The entries of a cache folder as a whole: listing, checking and removing them.

A file belongs to an entry if its name begins with the entry's key; others in the folder are never
touched. An entry whose lock is held, because it is being built, is never removed.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import time

from edgevit.core.cache.entry import (
    KEY_DIGITS,
    LOCK,
    SIDECAR,
    Record,
    UnusableError,
    read_content,
    read_record,
)
from edgevit.core.cache.files import cache_dir
from edgevit.core.cache.lock import locked_if_free

LEFT = "unfinished"  # an interrupted build's, unless one is going on
OWN_NAME = re.compile(rf"\.?([0-9a-f]{{{KEY_DIGITS}}})\.")  # temporary files begin with a dot


@dataclass(slots=True)
class EntryFiles:
    """The files of one entry.

    Args:
        folder: the cache folder.
        key: the entry's name, see `key_of`.
        sizes: bytes of its files by name, temporary ones included; the lock is not counted.
        used: when the entry was last read or written, in seconds since 1970.
    """

    folder: Path
    key: str
    sizes: dict[str, int] = field(default_factory=dict)
    used: float = 0

    @property
    def lock(self) -> Path:
        """The lock that a build of the entry holds."""
        return self.folder / f"{self.key}{LOCK}"

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files, temporary ones included."""
        return sum(self.sizes.values())

    @property
    def leftovers(self) -> list[str]:
        """Names of temporary files: nobody's, unless a build goes on."""
        return [name for name in self.sizes if name.startswith(".")]

    def check(self, *, contents: bool = True) -> tuple[Record | None, str]:
        """Read the entry.

        Args:
            contents: whether to read the compiled model too.

        Returns:
            Its record, None where there is no usable one; and what is wrong, empty where the entry
            is whole.
        """
        if len(self.sizes) == len(self.leftovers):
            return None, LEFT
        record = None
        try:
            record = read_record(self.folder / f"{self.key}{SIDECAR}")
            if contents:
                read_content(self.folder / f"{self.key}{record.suffix}", record)
        except FileNotFoundError:
            return record, "its compiled model is gone" if record else "it has no record"
        except UnusableError as exc:
            return record, str(exc)
        return record, ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What of the whole entries `prune` removes.

    Args:
        size_bytes: the least recently used ones above this size in all; None for no limit.
        idle_s: those not used for so many seconds; None to keep them.
        everything: whether all of them go.
    """

    size_bytes: int | None = None
    idle_s: float | None = None
    everything: bool = False

    def reason(self, entry: EntryFiles, size_bytes: int) -> str:
        """Say why a whole entry goes; empty where it stays.

        Args:
            entry: a whole entry.
            size_bytes: how much it and those used after it take.
        """
        idle_s = time() - entry.used
        if self.everything:
            return "all are removed"
        if self.idle_s is not None and idle_s > self.idle_s:
            return f"not used for {idle_s / 86400:.1f} days"
        if self.size_bytes is not None and size_bytes > self.size_bytes:
            return "least recently used, above the limit"
        return ""


@dataclass(frozen=True, slots=True)
class Removal:
    """What `prune` removes.

    Args:
        key: the entry's name, see `key_of`.
        model: name of its model; empty where nothing says it.
        size_bytes: how much disk it frees.
        reason: why it is removed, in half a sentence.
    """

    key: str
    model: str
    size_bytes: int
    reason: str


def cache_folders() -> list[Path]:
    """Folders of this user's backends that hold something, `cache_dir()/<backend>`, sorted.

    Raises:
        OSError: if one is there but cannot be read.
    """
    try:
        inside = sorted(cache_dir().iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder for folder in inside if folder.is_dir() and entries(folder)]


def entries(folder: Path) -> list[EntryFiles]:
    """List the entries of a folder, damaged ones and remains too, the last used first.

    Raises:
        OSError: if the folder is there but cannot be read.
    """
    found: dict[str, EntryFiles] = {}
    for name, status in _files(folder):
        match = OWN_NAME.match(name)
        if match and not name.endswith(LOCK):
            entry = found.setdefault(match[1], EntryFiles(folder, match[1]))
            entry.sizes[name] = status.st_size
            entry.used = max(entry.used, status.st_mtime)
    return sorted(found.values(), key=lambda entry: entry.used, reverse=True)


def records(folder: Path) -> list[Record]:
    """Records of the entries that have a usable one; raw models are not read.

    Raises:
        OSError: if the folder is there but cannot be read.
    """
    found = []
    for entry in entries(folder):
        try:
            found.append(read_record(folder / f"{entry.key}{SIDECAR}"))
        except (FileNotFoundError, UnusableError):
            continue
    return found


def remove(entry: EntryFiles, only: Record | None = None) -> None:
    """Remove an entry, unless it is being built.

    Args:
        entry: its files, as they were listed.
        only: the record that the entry must still have; None to remove it in any case.

    Raises:
        OSError: if the folder cannot be written.
    """
    with _unless_held(entry.lock) as is_free:
        if is_free and only in (None, entry.check(contents=False)[0]):
            _unlink(entry, entry.sizes)


def make_room(folder: Path, limit_bytes: int, *, keep: str) -> None:
    """Remove the least recently used entries above a limit.

    Args:
        folder: the cache folder.
        limit_bytes: how much it may hold.
        keep: key of an entry that stays, however large.

    Raises:
        OSError: if the folder cannot be read or written.
    """
    size_bytes = 0
    for entry in sorted(entries(folder), key=lambda entry: entry.key != keep):
        size_bytes += entry.size_bytes
        if size_bytes > limit_bytes and entry.key != keep:
            remove(entry)


def prune(folder: Path, limits: Limits, *, dry_run: bool = False) -> list[Removal]:
    """Remove what is damaged or left over, and what the caller no longer wants.

    Args:
        folder: the cache folder.
        limits: which whole entries go.
        dry_run: whether to remove nothing, and only say what would be.

    Returns:
        What was removed, or would be. What is being built stays.

    Raises:
        OSError: if the folder cannot be read or written.
    """
    removals, size_bytes = [], 0
    for entry in entries(folder):
        with _unless_held(entry.lock) as is_free:
            if not is_free:
                continue
            record, problem = entry.check()
            size_bytes += 0 if problem else entry.size_bytes
            reason = problem or limits.reason(entry, size_bytes)
            names = list(entry.sizes) if reason else entry.leftovers
            if names:
                freed = sum(entry.sizes[name] for name in names)
                model = record.name if record else ""
                removals.append(Removal(entry.key, model, freed, reason or LEFT))
            if not dry_run:
                _unlink(entry, names)
    if not dry_run:
        _remove_free_locks(folder)
    return removals


def _unlink(entry: EntryFiles, names: Iterable[str]) -> None:
    # The sidecar goes first: without it nothing is left that could be taken for an entry.
    for name in sorted(names, key=lambda name: not name.endswith(SIDECAR)):
        (entry.folder / name).unlink(missing_ok=True)


def _remove_free_locks(folder: Path) -> None:
    for name, _ in _files(folder):
        if OWN_NAME.match(name) and name.endswith(LOCK):
            with _unless_held(folder / name) as is_free, suppress(OSError):
                if is_free:  # whoever waits for it sees that the file is gone, and makes it again
                    (folder / name).unlink()


@contextmanager
def _unless_held(lock: Path) -> Iterator[bool]:
    """Take a lock if it is free; where the file system has no locks, every one is."""
    with ExitStack() as stack:
        try:
            is_free = stack.enter_context(locked_if_free(lock))
        except OSError:
            is_free = True
        yield is_free


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield names and states; another process may remove some meanwhile."""
    try:
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for path in paths:
        try:
            yield path.name, path.stat()
        except FileNotFoundError:
            continue
