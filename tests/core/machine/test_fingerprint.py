import json
import platform
from dataclasses import replace
from importlib.metadata import version

import pytest

from edgevit.core.machine.cpu import cpu_features, cpu_name
from edgevit.core.machine.fingerprint import Fingerprint, fingerprint
from edgevit.errors import SpecError

PC = "processor\t: 0\nmodel name\t: Example 9000\nflags\t\t: fpu fma avx2\n"
PI = "processor\t: 0\nFeatures\t: fp asimd asimddp\n\n"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("cpuinfo", "board", "name", "features"),
    [
        pytest.param(None, None, platform.processor() or platform.machine(), (), id="no proc"),
        pytest.param(PC, None, "Example 9000", ("avx2", "fma"), id="a PC"),
        pytest.param(PI, "Board 5\0", "Board 5", ("asimd", "asimddp"), id="an Arm board"),
        pytest.param(PI, None, platform.machine(), ("asimd", "asimddp"), id="an unnamed board"),
    ],
)
def test_the_processor_is_named(cpuinfo, board, name, features, tmp_path):
    if cpuinfo is not None:
        write(tmp_path / "proc/cpuinfo", cpuinfo)
    if board is not None:
        write(tmp_path / "proc/device-tree/model", board)
    assert (cpu_name(tmp_path), cpu_features(tmp_path)) == (name, features)


def test_memory_system_and_accelerators_are_read(tmp_path):
    write(tmp_path / "proc/meminfo", "MemTotal:        8000000 kB\nMemFree: 1 kB\n")
    write(tmp_path / "etc/os-release", 'ID=example\nPRETTY_NAME="Example OS 3"\n')
    devices = tmp_path / "sys/bus/pci/devices"
    for name, kind in (("0000:00:01.0", "0x020000"), ("0000:00:02.0", "0x030200")):
        write(devices / name / "class", f"{kind}\n")
        write(devices / name / "vendor", "0x10aa\n")
        write(devices / name / "device", "0x2330\n")
    write(tmp_path / "sys/bus/pci/drivers/fast/module/version", "13.1\n")
    (devices / "0000:00:02.0/driver").symlink_to(tmp_path / "sys/bus/pci/drivers/fast")
    found = fingerprint(tmp_path)
    assert (found.memory_gib, found.system) == (8, "Example OS 3")
    assert found.accelerators == ("10aa:2330 fast 13.1",)


def test_what_the_system_does_not_tell_is_missing(tmp_path):
    write(tmp_path / "proc/meminfo", "MemFree: 1 kB\n")
    write(tmp_path / "sys/bus/pci/devices/0/class", "0x030000\n")  # no driver, no numbers
    found = fingerprint(tmp_path)
    assert (found.memory_gib, found.accelerators) == (None, (":",))
    assert found.system == found.kernel
    assert fingerprint(tmp_path / "nowhere").memory_gib is None


def test_the_packages_are_those_that_compute():
    packages = fingerprint().packages
    assert packages["numpy"] == version("numpy")
    assert packages["edgevit"] == version("edgevit")
    assert "pytest" not in packages


def test_it_comes_back_from_json():
    found = fingerprint()
    assert Fingerprint.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    with pytest.raises(SpecError, match="fingerprint lacks the key 'cpu'"):
        Fingerprint.from_dict({})


def test_differences_name_fields_and_packages():
    here = replace(fingerprint(), kernel="b 2", cores=4, packages={"numpy": "2.1", "new": "1"})
    there = replace(here, kernel="a 1", cores=2, packages={"numpy": "2.0"})
    assert here.differences(here) == []
    assert here.differences(there, ignore=["kernel"]) == [
        "cores: 2, here 4",
        "numpy: 2.0, here 2.1",
        "new: none, here 1",
    ]
