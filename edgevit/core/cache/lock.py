"""Locks between processes, which the kernel releases when their holder dies.

filelock does it. It is imported when something is built or removed, not at a start that finds its
model in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock


@contextmanager
def locked(path: Path, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold a lock; threads and processes that ask for the same one wait.

    Args:
        path: a file that stands for the lock. It is made where it is not there, and stays; only
            who holds the lock may remove it.
        waiting: called once if the lock is not free.

    Raises:
        OSError: if the file cannot be made or its file system has no locks.
    """
    lock = _lock(path)
    try:
        if not _try(lock):
            if waiting is not None:
                waiting()
            lock.acquire()
        yield
    finally:
        lock.release()


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold a lock, unless somebody else does.

    Yields:
        Whether it is held now.

    Raises:
        OSError: if the file cannot be made or its file system has no locks.
    """
    lock = _lock(path)
    try:
        yield _try(lock)
    finally:
        lock.release()


def _lock(path: Path) -> BaseFileLock:
    from filelock import FileLock

    # A marker in place of the kernel's lock would outlive a holder that is killed.
    return FileLock(path, mode=0o600, fallback_to_soft=False)


def _try(lock: BaseFileLock) -> bool:
    from filelock import Timeout

    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True
