import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgevit.core.cache.lock import locked, locked_if_free

HOLD = """
import sys, time
from pathlib import Path
from edgevit.core.cache.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


WAIT = """
import sys
from pathlib import Path
from edgevit.core.cache.lock import locked
try:
    with locked(Path(sys.argv[1]), lambda: print("waiting", flush=True)):
        print("held")
except KeyboardInterrupt:
    print("interrupted")
"""
fcntl = pytest.importorskip("fcntl", reason="the locks of Windows are not these")


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


def test_wait_is_told_once_and_can_be_interrupted(path, holder):
    command = [sys.executable, "-c", WAIT, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        told = child.stdout.readline()
        child.send_signal(signal.SIGINT)
        rest = child.communicate()[0]
    assert (told, rest) == ("waiting\n", "interrupted\n")


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
    real, calls = fcntl.flock, []

    def flock(descriptor, operation):
        calls.append(descriptor)
        if len(calls) == 1:
            path.unlink()
            if becomes == "another file":
                path.write_bytes(b"")
        return real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(path):
        assert os.path.samestat(os.fstat(calls[-1]), path.stat())


@pytest.mark.parametrize("take", [locked, locked_if_free])
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_file_system_without_locks_is_an_os_error(take, code, path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(code, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="No locks available"), take(path):
        pytest.fail("there are no locks")
