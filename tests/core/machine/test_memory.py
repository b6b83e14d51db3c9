from pathlib import Path

import pytest

from edgevit.core.machine.memory import peak_resident_mib, resident_mib


def test_memory_is_read_in_mib(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096}.__getitem__)
    (tmp_path / "statm").write_text("9999 512 30 1 0 40 0\n")
    (tmp_path / "status").write_text("Name:\tx\nVmHWM:\t    3072 kB\nVmRSS:\t 2048 kB\n")
    assert (resident_mib(tmp_path), peak_resident_mib(tmp_path)) == (2.0, 3.0)


def test_a_system_that_does_not_tell_is_unknown(tmp_path):
    assert (resident_mib(tmp_path), peak_resident_mib(tmp_path)) == (None, None)
    (tmp_path / "status").write_text("Name:\tx\n")
    assert peak_resident_mib(tmp_path) is None


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no procfs")
def test_the_peak_is_no_less_than_what_is_there_now():
    now = resident_mib()
    assert 0 < now <= peak_resident_mib() + 1  # the kernel counts pages in batches
