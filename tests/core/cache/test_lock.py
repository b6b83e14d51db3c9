import errno
import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from edgevit.core.cache import lock as module
from edgevit.core.cache.lock import locked, locked_if_free

HOLD = """
import sys, time
from pathlib import Path
from edgevit.core.cache.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.lock"


@pytest.fixture
def holder(path):
    """Another process that holds the lock."""
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"held\n"
    yield child
    child.kill()
    child.communicate()


def test_lock_leaves_no_file(path):
    with locked(path):
        assert path.exists()
    assert not path.exists()


def test_lock_is_released_when_the_work_fails(path):
    with pytest.raises(ZeroDivisionError), locked(path):
        _ = 1 / 0
    with locked_if_free(path) as is_held:
        assert is_held


def test_lock_of_another_process_is_not_free(path, holder):
    with locked_if_free(path) as is_held:
        assert not is_held
    assert path.exists()


def test_death_of_the_holder_releases_the_lock(path, holder):
    holder.kill()
    holder.wait()
    assert path.exists()
    with locked_if_free(path) as is_held:
        assert is_held
    assert not path.exists()


def test_wait_is_told_once_and_can_be_interrupted(path, holder, monkeypatch):
    told, naps = [], []

    def sleep(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt), locked(path, lambda: told.append("wait")):
        pytest.fail("another process holds the lock")
    assert told == ["wait"]


def test_threads_take_turns(path):
    inside, most = [], []

    def work(number):
        with locked(path):
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(12)))
    assert most == [1] * 12


@pytest.mark.parametrize("becomes", ["another file", "nothing"])
def test_file_that_its_former_holder_removes_is_no_lock(becomes, path, monkeypatch):
    real, calls = module._lock, []

    def lock(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            path.unlink()
            if becomes == "another file":
                path.write_bytes(b"")
        return real(descriptor)

    monkeypatch.setattr(module, "_lock", lock)
    with locked(path):
        assert len(calls) == 2
        assert os.path.samestat(os.fstat(calls[1]), path.stat())


@pytest.fixture
def windows(monkeypatch):
    """The module as on Windows, with a fake of the one system module that it uses there."""
    held = {}

    def locking(descriptor, mode, length):
        assert length == 1
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == 0
        file = os.fstat(descriptor).st_ino
        if mode == "unlock":
            assert held.pop(file) == descriptor
        elif held.setdefault(file, descriptor) != descriptor:
            raise PermissionError(errno.EACCES, "Permission denied")

    msvcrt = SimpleNamespace(locking=locking, LK_NBLCK="lock", LK_UNLCK="unlock")
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    source = importlib.util.spec_from_file_location("lock_on_windows", module.__file__)
    fresh = importlib.util.module_from_spec(source)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        source.loader.exec_module(fresh)
        yield fresh
    assert held == {}


def test_windows_locks_exclude_each_other(windows, path):
    with windows.locked(path):
        with windows.locked_if_free(path) as is_held:
            assert not is_held
        assert path.exists()
    with windows.locked_if_free(path) as is_held:
        assert is_held
    assert not path.exists()


@pytest.mark.parametrize("take", [locked, locked_if_free])
def test_file_system_without_locks_is_an_os_error(take, path, monkeypatch):
    def refuse(descriptor):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module, "_lock", refuse)
    with pytest.raises(OSError, match="No locks available"), take(path):
        pytest.fail("there are no locks")
