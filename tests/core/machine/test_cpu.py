import os

import pytest

from edgevit.backend import usable_cores
from edgevit.core.machine.cpu import allowed_cpus


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Describe a machine in a made-up sysfs: sibling lists by processor, mask, cgroup quota."""

    def make(siblings, mask, quota=None):
        for cpu, text in enumerate(siblings):
            topology = tmp_path / f"devices/system/cpu/cpu{cpu}/topology"
            topology.mkdir(parents=True)
            (topology / "thread_siblings_list").write_text(f"{text}\n")
        monkeypatch.setattr("edgevit.core.machine.cpu.allowed_cpus", lambda: mask)
        monkeypatch.setattr(os, "cpu_count", lambda: len(siblings))
        if quota is not None:
            (tmp_path / "fs/cgroup").mkdir(parents=True)
            (tmp_path / "fs/cgroup/cpu.max").write_text(f"{quota}\n")
        return tmp_path

    return make


PAIRS = ["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"]  # four cores, two threads each


@pytest.mark.parametrize(
    ("siblings", "mask", "quota", "cores"),
    [
        pytest.param(["0"], {0}, None, 1, id="one processor"),
        pytest.param(["0", "1", "2", "3"], {0, 1, 2, 3}, None, 4, id="no siblings"),
        pytest.param(PAIRS, set(range(8)), None, 4, id="siblings share a core"),
        pytest.param(PAIRS, {0, 4}, None, 1, id="pinned to one core"),
        pytest.param(PAIRS, {1, 2}, None, 2, id="pinned to two cores"),
        pytest.param(PAIRS, set(range(8)), "max 100000", 4, id="cgroup without quota"),
        pytest.param(PAIRS, set(range(8)), "200000 100000", 2, id="two processors"),
        pytest.param(PAIRS, set(range(8)), "150000 100000", 2, id="one and a half"),
        pytest.param(PAIRS, set(range(8)), "10000 100000", 1, id="a tenth"),
        pytest.param(PAIRS, set(range(8)), "900000 100000", 4, id="more than there are"),
        pytest.param(PAIRS, set(range(8)), "nonsense", 4, id="unreadable quota"),
    ],
)
def test_cores_are_physical_allowed_and_within_quota(siblings, mask, quota, cores, machine):
    assert usable_cores(machine(siblings, mask, quota)) == cores


def test_every_processor_counts_without_sysfs(tmp_path, monkeypatch):
    monkeypatch.setattr("edgevit.core.machine.cpu.allowed_cpus", lambda: {0, 1, 2})
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cores(tmp_path) == 3


def test_there_is_a_core_on_this_machine():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_all_processors_are_allowed_where_there_is_no_mask(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert allowed_cpus() == set(range(6))
