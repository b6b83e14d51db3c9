"""Locks between processes, which the kernel releases when their holder dies."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

POLL_S = 0.05  # a wait that polls can be interrupted in any thread on any system


@contextmanager
def locked(path: Path, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold a lock; threads and processes that ask for the same one wait.

    Args:
        path: a file that stands for the lock. It is made and removed again; after the death of its
            holder it may stay, and then means nothing.
        waiting: called once if the lock is not free.

    Raises:
        OSError: if the file cannot be made or its file system has no locks.
    """
    while (descriptor := _try(path)) is None:
        if waiting is not None:
            waiting()
            waiting = None
        time.sleep(POLL_S)
    try:
        yield
    finally:
        _release(descriptor, path)


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold a lock, unless somebody else does.

    Args:
        path: what `locked` takes.

    Yields:
        Whether it is held now.

    Raises:
        OSError: if the file cannot be made or its file system has no locks.
    """
    descriptor = _try(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            _release(descriptor, path)


def _try(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # Its former holder may have removed the file between our opening and locking it.
        if _lock(descriptor) and _is_same(descriptor, path):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _release(descriptor: int, path: Path) -> None:
    """Unlock; remove the file only while it cannot be anybody else's.

    That is while the lock is held; Windows removes no open file, so there it is afterwards. Where
    it cannot be removed it stays, and then means nothing.
    """
    is_windows = sys.platform == "win32"
    with suppress(OSError):
        if not is_windows:
            path.unlink(missing_ok=True)
    _unlock(descriptor)
    os.close(descriptor)
    with suppress(OSError):
        if is_windows:
            path.unlink(missing_ok=True)


if sys.platform == "win32":

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        """Unlock for every copy of the descriptor, also a forked child's."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)
