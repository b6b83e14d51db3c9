import errno
import json
import logging
import os
import random
import signal
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgevit.backend import CompiledCache
from edgevit.core.cache import compiled as module
from edgevit.core.cache.entry import key_of
from edgevit.core.cache.folder import Limits, cache_folders, entries, prune, records

FACTS = {"files": {"": "ab"}, "device": "GPU", "tensorrt": "10.3.0", "options": {"threads": 2}}
OTHER = {**FACTS, "options": {"threads": 4}}
CONTENT = random.Random(0).randbytes(3000)
MODEL = Path("/models/cas_vit_s.onnx")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache/tensorrt"


@pytest.fixture
def cache(folder):
    return CompiledCache(folder, suffix=".plan")


@pytest.fixture
def warnings(caplog):
    """Warnings that were logged so far."""
    caplog.set_level(logging.INFO)
    return lambda: [line.getMessage() for line in caplog.records if line.levelname == "WARNING"]


def build(cache, facts=FACTS, content=CONTENT, **arguments):
    with cache.building(facts, MODEL, **arguments) as building:
        assert building.found is None
        building.store(content, {"inputs": ["image"]})
    return building


def files(folder, facts=FACTS):
    return folder / f"{key_of(facts)}.plan", folder / f"{key_of(facts)}.json"


def names(folder):
    """What a folder holds, besides locks: their files stay until the next `prune`."""
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [name for name in found if not name.endswith(".lock")]


# Storing and finding


def test_what_was_stored_is_found(cache):
    assert cache.find(FACTS) is None
    build(cache)
    found = cache.find(FACTS)
    assert found.content == found.path.read_bytes() == CONTENT
    assert found.record.extras == {"inputs": ["image"]}
    assert cache.find(OTHER) is None


def test_sidecar_says_what_the_raw_file_is(cache, folder):
    build(cache)
    record = json.loads(files(folder)[1].read_text())
    assert names(folder) == sorted(path.name for path in files(folder))
    assert (record["model"], record["facts"], record["why"]) == (str(MODEL), FACTS, "first build")
    assert (record["size_bytes"], record["suffix"]) == (3000, ".plan")
    assert record["built_at"] > 1.7e9
    assert record["build_s"] >= 0


def test_model_is_named_by_its_absolute_path(cache, monkeypatch):
    monkeypatch.chdir("/")
    with cache.building(FACTS, Path("model.onnx")) as building:
        building.store(CONTENT)
    assert cache.find(FACTS).record.model == str(Path("/model.onnx").absolute())


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
@pytest.mark.parametrize("umask", [0, 0o077])
def test_nobody_else_may_write(umask, cache, folder):
    before = os.umask(umask)
    try:
        build(cache)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = [stat.S_IMODE(path.stat().st_mode) for path in files(folder)]
    assert modes == [0o644 & ~umask] * 2
    assert cache.find(FACTS)


def test_failed_build_keeps_nothing_and_lets_the_next_one_try(cache, folder):
    with pytest.raises(ZeroDivisionError), cache.building(FACTS, MODEL):
        _ = 1 / 0
    assert names(folder) == []
    build(cache)


def test_discarded_model_is_built_again_for_the_callers_reason(cache):
    build(cache)
    build(cache, OTHER)
    cache.discard(cache.find(FACTS))
    assert cache.find(FACTS) is None
    assert cache.find(OTHER)
    assert build(cache, because="the runtime refused it").why == "the runtime refused it"


def test_discard_keeps_what_another_process_has_built_meanwhile(cache):
    build(cache)
    refused = cache.find(FACTS)
    for _ in range(2):
        cache.discard(refused)
    build(cache, content=CONTENT[::-1])
    cache.discard(refused)
    assert cache.find(FACTS).content == CONTENT[::-1]


def test_discard_in_a_folder_that_cannot_be_written_is_a_warning(cache, monkeypatch, warnings):
    build(cache)

    def refuse(entry, only):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(module, "remove", refuse)
    cache.discard(cache.find(FACTS))
    assert len(warnings()) == 1


def test_reason_is_the_difference_to_the_nearest_of_the_same_path(cache, caplog):
    build(cache)
    with cache.building({**FACTS, "tensorrt": "9"}, Path("/models/another.onnx")) as building:
        building.store(CONTENT)
    with caplog.at_level(logging.INFO):
        building = build(cache, OTHER)
    assert building.why == "option threads 2 -> 4"
    assert caplog.messages == ["building cas_vit_s.onnx: option threads 2 -> 4"]


# Damage


def cut(content, chance):
    return content[: chance.randrange(len(content))]


def flip(content, chance):
    changed = bytearray(content)
    changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def lengthen(content, chance):
    return content + chance.randbytes(1 + chance.randrange(9))


def overwrite(content, chance):
    return chance.randbytes(len(content))


def foreign_json(content, chance):
    return chance.choice(
        [b"", b"[1, 2]", b"{}", b"null", b"\xff\xfe", b"[" * 100_000, b'{"schema": 1, "seal": "x"}']
    )


def edited_field(content, chance):
    record = json.loads(content)
    name = chance.choice(sorted(record))
    record[name] = chance.choice([None, 0, "", [], {}, ["image", "mask"], "/etc/passwd"])
    return json.dumps(record, indent=1).encode()


def missing_field(content, chance):
    record = json.loads(content)
    del record[chance.choice(sorted(record))]
    return json.dumps(record, indent=1).encode()


def another_layout(content, chance):
    return json.dumps(json.loads(content), indent=chance.randrange(2, 5)).encode()


RAW_DAMAGES = (cut, flip, flip, lengthen, overwrite)
SIDECAR_DAMAGES = (*RAW_DAMAGES, foreign_json, edited_field, missing_field, another_layout)


def damage(folder, chance):
    """Damage the entry for FACTS in one of many ways."""
    raw, sidecar = files(folder)
    kind = chance.randrange(4)
    if kind == 0:  # files of another entry under this entry's names
        victims = chance.choice([(0,), (1,), (0, 1)])
        for index in victims:
            files(folder)[index].write_bytes(files(folder, OTHER)[index].read_bytes())
    elif kind == 1:
        raw.write_bytes(chance.choice(RAW_DAMAGES)(raw.read_bytes(), chance))
    else:
        sidecar.write_bytes(chance.choice(SIDECAR_DAMAGES)(sidecar.read_bytes(), chance))


@pytest.mark.parametrize("seed", range(10))
def test_none_of_200_corruptions_is_loaded(seed, cache, folder, warnings, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no power cut is tested
    chance = random.Random(seed)
    build(cache)
    build(cache, OTHER, CONTENT[::-1])
    whole = [path.read_bytes() for path in files(folder)]
    for count in range(1, 21):
        damage(folder, chance)
        assert cache.find(FACTS) is None
        assert len(warnings()) == count
        assert build(cache).why.startswith("the cached model ")
        for path, content in zip(files(folder), whole, strict=True):
            path.write_bytes(content)
        assert cache.find(FACTS).content == CONTENT
    assert cache.find(OTHER).content == CONTENT[::-1]


@pytest.mark.parametrize("gone", [0, 1], ids=["raw", "sidecar"])
def test_entry_without_one_of_its_files_is_not_there(gone, cache, folder, warnings):
    build(cache)
    files(folder)[gone].unlink()
    assert cache.find(FACTS) is None
    build(cache)
    assert warnings() == []
    assert cache.find(FACTS)


def test_folder_in_a_files_place_is_a_warning(cache, folder, warnings):
    build(cache)
    files(folder)[0].unlink()
    files(folder)[0].mkdir()
    assert cache.find(FACTS) is None
    assert "cannot be read" in warnings()[0]


def write_for_all(path, monkeypatch):
    path.chmod(0o666)


def write_for_group(path, monkeypatch):
    path.chmod(0o664)


def give_away(path, monkeypatch):
    if os.geteuid() == 0:
        os.chown(path, 1234, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such owners")
@pytest.mark.parametrize("victim", [0, 1], ids=["raw", "sidecar"])
@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (write_for_all, "may be written by other users (mode 0666)"),
        (write_for_group, "may be written by other users (mode 0664)"),
        (give_away, "belongs to another user"),
    ],
)
def test_file_that_another_user_may_have_written_is_not_used(
    change, warning, victim, cache, folder, warnings, monkeypatch
):
    build(cache)
    with monkeypatch.context() as patch:
        change(files(folder)[victim], patch)
        assert cache.find(FACTS) is None
    assert warning in warnings()[0]


# Interruptions

WRITER = """
import random, sys
from pathlib import Path
from edgevit.backend import CompiledCache
cache = CompiledCache(Path(sys.argv[1]), suffix=".plan")
print("ready", flush=True)
while True:
    for number in range(3):
        with cache.building({"number": number}, Path("model.onnx")) as build:
            if build.found is None:
                build.store(random.Random(number).randbytes(300_000))
    for number in range(3):
        cache.discard(cache.find({"number": number}))
"""


def kill_a_writer(folder, delay_s):
    child = subprocess.Popen([sys.executable, "-c", WRITER, folder], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    time.sleep(delay_s)
    child.kill()
    child.communicate()
    assert child.returncode == -signal.SIGKILL


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_kill_at_any_moment_leaves_nothing_or_remains_or_whole_entries(cache, folder, warnings):
    chance = random.Random(0)
    for _ in range(8):
        kill_a_writer(folder, chance.uniform(0, 0.06))
        for number in range(3):
            found = cache.find({"number": number})
            assert found is None or found.content == random.Random(number).randbytes(300_000)
        problems = {entry.check()[1] for entry in entries(folder)}
        assert problems <= {"", "unfinished", "it has no record"}
    prune(folder, Limits())
    assert all(name.endswith((".json", ".plan")) for name in names(folder))
    assert len(names(folder)) == 2 * len(records(folder))
    assert warnings() == []


ONE_OF_MANY = """
import sys, time
from pathlib import Path
from edgevit.backend import CompiledCache
cache = CompiledCache(Path(sys.argv[1]), suffix=".plan")
print("ready", flush=True)
sys.stdin.readline()
found = cache.find({"number": 1})
if found is None:
    with cache.building({"number": 1}, Path("model.onnx")) as build:
        found = build.found
        if found is None:
            time.sleep(0.3)
            build.store(b"compiled")
            print("built")
            sys.exit()
print(found.content.decode())
"""


def test_of_8_processes_at_once_one_builds(folder):
    command = [sys.executable, "-W", "error", "-c", ONE_OF_MANY, folder]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, **pipes) for _ in range(8)]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = sorted(child.communicate()[0].strip() for child in children)
    assert answers == ["built", *["compiled"] * 7]
    assert len(names(folder)) == 2


def test_waiting_is_said_once(cache, caplog):
    caplog.set_level(logging.INFO)

    def work():
        with cache.building(FACTS, MODEL) as building:
            return building.found.content

    with ThreadPoolExecutor(1) as threads:
        with cache.building(FACTS, MODEL) as building:
            waiter = threads.submit(work)
            while len(caplog.records) < 2:
                time.sleep(0.01)
            building.store(CONTENT)
        assert waiter.result() == CONTENT
    assert caplog.messages[1:] == ["waiting for another process that builds cas_vit_s.onnx"]


# Disks


@pytest.mark.parametrize("victim", ["first", "second"])
def test_full_disk_is_a_warning_and_leaves_nothing(victim, cache, folder, warnings, monkeypatch):
    real, calls = os.fsync, []

    def fsync(descriptor):
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            calls.append(descriptor)
            if len(calls) == (1 if victim == "first" else 2):
                raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    build(cache)
    assert names(folder) == []
    assert len(warnings()) == 1
    assert "No space left on device; name a folder of yours in EDGEVIT_CACHE" in warnings()[0]


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a Linux file system")
def test_full_file_system_is_a_warning_and_leaves_nothing(tmp_path, warnings):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        cache = CompiledCache(tmp_path / "tensorrt", suffix=".plan")
        build(cache, content=bytes(100_000))
        assert names(cache.folder) == []
        assert "No space left on device" in warnings()[0]
        build(cache)
        assert cache.find(FACTS).content == CONTENT
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.fixture
def read_only(cache):
    """A cache that this process may read and not write."""
    if os.name != "posix":
        pytest.skip("Windows has no such modes")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = CompiledCache(folder, suffix=".plan")
        build(cache)
        folder.chmod(0o555)
        is_root = os.geteuid() == 0
        if is_root:  # may write everywhere
            os.seteuid(65534)
        try:
            yield cache
        finally:
            if is_root:
                os.seteuid(0)
            folder.chmod(0o700)


def test_read_only_folder_is_read(read_only, warnings):
    assert read_only.find(FACTS).content == CONTENT
    assert warnings() == []


def test_read_only_folder_is_one_warning_for_a_build(read_only, warnings):
    before = names(read_only.folder)
    assert build(read_only, OTHER).why == "option threads 2 -> 4"
    assert len(warnings()) == 1
    assert "Permission denied" in warnings()[0]
    assert names(read_only.folder) == before


def test_folder_that_cannot_be_listed_still_builds(cache, folder, monkeypatch):
    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(module, "records", refuse)
    assert build(cache).why == "the cache cannot be read (Permission denied)"


def test_file_in_the_folders_place_is_one_warning(tmp_path, warnings):
    (tmp_path / "file").write_bytes(b"")
    build(CompiledCache(tmp_path / "file", suffix=".plan"))
    assert len(warnings()) == 1


def test_file_system_without_locks_is_used_without(cache, monkeypatch, warnings):
    from edgevit.core.cache import lock

    def refuse(path):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_lock", refuse)
    build(cache)
    assert cache.find(FACTS).content == CONTENT
    cache.discard(cache.find(FACTS))
    assert cache.find(FACTS) is None
    assert warnings() == []


# Room


def age(folder, facts, seconds):
    for path in files(folder, facts):
        os.utime(path, (seconds, seconds))


def test_least_recently_used_entries_make_room(folder):
    cache = CompiledCache(folder, suffix=".plan", limit_bytes=9_000)
    facts = [{"number": number} for number in range(3)]
    for number in (0, 1):
        build(cache, facts[number])
        age(folder, facts[number], 1000 + number)
    cache.find(facts[0])
    build(cache, facts[2])
    assert [bool(cache.find(each)) for each in facts] == [True, False, True]
    assert len(names(folder)) == 4


def test_model_larger_than_the_cache_is_kept_alone(folder):
    cache = CompiledCache(folder, suffix=".plan", limit_bytes=10)
    build(cache)
    build(cache, OTHER)
    assert cache.find(OTHER)
    assert cache.find(FACTS) is None


def test_room_that_cannot_be_made_is_a_warning(cache, monkeypatch, warnings):
    def refuse(folder, limit_bytes, *, keep):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(module, "make_room", refuse)
    build(cache)
    assert cache.find(FACTS)
    assert len(warnings()) == 1
    assert "may hold more than its limit: [Errno 1] Operation not permitted" in warnings()[0]


def test_entry_in_use_by_a_build_is_not_removed(folder):
    cache = CompiledCache(folder, suffix=".plan", limit_bytes=10)
    build(cache)
    with cache.building(FACTS, MODEL):
        build(cache, OTHER)
        assert [removal.key for removal in prune(folder, Limits(everything=True))] == [
            key_of(OTHER)
        ]
    assert cache.find(FACTS)


# The folder as a whole


def test_prune_removes_remains_and_damage_and_nothing_else(cache, folder):
    build(cache)
    build(cache, OTHER)
    remains = {
        f"{'0' * 32}.plan": "it has no record",
        f".{'1' * 32}.plan.77.ab12": "unfinished",
        f".{key_of(FACTS)}.json.77.ab12": "unfinished",
    }
    for name in remains:
        (folder / name).write_bytes(b"x")
    (folder / f"{'2' * 32}.lock").touch()
    (folder / "timing.cache").write_bytes(b"somebody else's")
    files(folder, OTHER)[0].write_bytes(b"damaged")
    planned = prune(folder, Limits(), dry_run=True)
    assert set(remains) < set(names(folder))
    done = prune(folder, Limits())
    assert sorted(done, key=str) == sorted(planned, key=str)
    assert sorted(removal.reason for removal in done) == sorted(
        [f"{key_of(OTHER)}.plan was damaged (7 bytes, not 3000)", *remains.values()]
    )
    assert names(folder) == sorted(["timing.cache", *(path.name for path in files(folder))])
    assert not list(folder.glob("*.lock"))
    assert cache.find(FACTS)


@pytest.mark.parametrize(
    ("limits", "reasons"),
    [
        (Limits(), []),
        (Limits(everything=True), ["all are removed"] * 2),
        (Limits(idle_s=30 * 86400), ["not used for 50.0 days"]),
        (Limits(idle_s=60 * 86400), []),
        (Limits(size_bytes=5_000), ["least recently used, above the limit"]),
        (Limits(size_bytes=0), ["least recently used, above the limit"] * 2),
    ],
)
def test_prune_removes_what_the_limits_say(limits, reasons, cache, folder):
    build(cache)
    build(cache, OTHER)
    age(folder, OTHER, time.time() - 50 * 86400)
    removals = prune(folder, limits)
    assert [removal.reason for removal in removals] == reasons
    assert all(removal.model == "cas_vit_s" for removal in removals)
    assert len(names(folder)) == 2 * (2 - len(reasons))


def test_check_names_a_model_that_is_gone(cache, folder):
    build(cache)
    files(folder)[0].unlink()
    record, problem = entries(folder)[0].check()
    assert (record.name, problem) == ("cas_vit_s", "its compiled model is gone")


def test_file_removed_while_listing_is_passed_over(cache, folder, monkeypatch):
    build(cache)
    listed = [folder / f"{'0' * 32}.plan", files(folder)[1]]
    monkeypatch.setattr(Path, "iterdir", lambda _: listed)
    assert [entry.key for entry in entries(folder)] == [key_of(FACTS)]


def test_folder_that_is_not_there_holds_nothing(tmp_path):
    assert entries(tmp_path / "nowhere") == prune(tmp_path / "nowhere", Limits()) == []


def test_folders_are_those_that_hold_something(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEVIT_CACHE", str(tmp_path / "cache"))
    assert cache_folders() == []
    build(CompiledCache(tmp_path / "cache/tensorrt", suffix=".plan"))
    (tmp_path / "cache/models").mkdir()
    (tmp_path / "cache/models/cas_vit_s.onnx").write_bytes(b"not ours")
    assert cache_folders() == [tmp_path / "cache/tensorrt"]


def test_damaged_records_are_left_out(cache, folder):
    build(cache)
    build(cache, OTHER)
    files(folder)[1].write_bytes(b"{}")
    (folder / f"{'0' * 32}.plan").write_bytes(b"x")
    assert [record.facts for record in records(folder)] == [OTHER]
