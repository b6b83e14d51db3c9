import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgevit.backend import cache_dir, write_atomically


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("EDGEVIT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("platform", "folder"),
    [
        ("linux", ".cache/edgevit"),
        ("darwin", "Library/Caches/edgevit"),
        ("win32", "AppData/Local/edgevit"),
    ],
)
def test_cache_is_in_the_platforms_folder(platform, folder, home, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_dir() == home / folder


@pytest.mark.parametrize(
    ("platform", "variable"), [("linux", "XDG_CACHE_HOME"), ("win32", "LOCALAPPDATA")]
)
def test_cache_follows_the_platforms_variable(platform, variable, home, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, str(home / "chosen"))
    assert cache_dir() == home / "chosen/edgevit"


def test_edgevit_cache_comes_before_the_platform(home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    monkeypatch.setenv("EDGEVIT_CACHE", str(home / "mine"))
    assert cache_dir() == home / "mine"


def test_empty_variable_counts_as_unset(home, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("EDGEVIT_CACHE", "")
    assert cache_dir() == home / ".cache/edgevit"


def test_asking_for_the_folder_does_not_make_it(home):
    assert not cache_dir().exists()


@pytest.mark.parametrize("content", [b"", b"new", bytes(100_000)], ids=["empty", "short", "long"])
def test_file_is_written_with_its_folder(content, tmp_path):
    path = tmp_path / "a/b/file"
    write_atomically(path, content)
    assert path.read_bytes() == content
    assert [*path.parent.iterdir()] == [path]


def test_file_is_replaced(tmp_path):
    write_atomically(tmp_path / "file", b"old and long")
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.mkdir()
    (path / "inside").write_bytes(b"old")
    with pytest.raises(OSError, match="file"):
        write_atomically(path, b"new")
    assert [*tmp_path.iterdir()] == [path]
    assert (path / "inside").read_bytes() == b"old"


def test_folder_that_cannot_be_made_is_an_os_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        write_atomically(tmp_path / "file/inside", b"new")


def test_writers_at_once_leave_one_whole_file(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([number]) * 50_000 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda content: write_atomically(path, content), contents))
    assert path.read_bytes() in contents
    assert [*tmp_path.iterdir()] == [path]
