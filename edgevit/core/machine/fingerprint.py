"""What a measurement was made on: the hardware, the system and the libraries that decide it.

Nothing is loaded for it: versions are read off the installed distributions, hardware from the files
that the system keeps about itself. What a system does not tell is None or empty.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from edgevit.core.machine.cpu import ROOT, allowed_cpus, cpu_features, cpu_name, read, usable_cores
from edgevit.core.machine.packages import GROUP, installed, registered, registering
from edgevit.core.records import parse

LIBRARIES = ("numpy", "opencv")  # what works before and after a network; backends name the others

# PCI classes that may compute beside the processor: display controllers, processing accelerators.
ACCELERATOR_CLASSES = ("0x03", "0x12")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The machine and the libraries of a measurement.

    Args:
        cpu: processor or board name.
        cpu_features: instruction sets that matter for inference; empty where the system does not
            tell.
        cores: physical cores that this process may use, container limits included.
        processors: logical processors that this process may use.
        memory_gib: memory of the machine, GiB, rounded; None where the system does not tell.
        accelerators: PCI graphics and accelerator devices as `vendor:device driver version`.
        system: operating system, e.g. `Debian GNU/Linux 12 (bookworm)`.
        kernel: e.g. `Linux 6.12.0`.
        architecture: e.g. `x86_64` or `aarch64`.
        python: implementation and version, e.g. `CPython 3.11.2`.
        packages: version by distribution name, of NumPy, OpenCV, every distribution that registers
            a backend (edgevit is one) and every one that is named like a backend.
    """

    cpu: str
    cpu_features: tuple[str, ...]
    cores: int
    processors: int
    memory_gib: int | None
    accelerators: tuple[str, ...]
    system: str
    kernel: str
    architecture: str
    python: str
    packages: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as plain values that `json.dumps` takes, by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> Fingerprint:
        """Read what `to_dict` made, also after a way through JSON.

        Raises:
            SpecError: naming the key that is unknown, missing or wrong.
        """
        return parse(cls, data, "fingerprint")

    def differences(self, other: Fingerprint, ignore: Collection[str] = ()) -> list[str]:
        """Say in what another fingerprint differs from this one.

        Args:
            other: the fingerprint to compare with.
            ignore: names of fields that may differ, such as `kernel`.

        Returns:
            For each difference the field or the package, what `other` has and what this one has;
            empty where there is none.
        """
        mine, others = self._flat(ignore), other._flat(ignore)
        return [
            f"{name}: {others.get(name, 'none')}, here {mine.get(name, 'none')}"
            for name in {**mine, **others}
            if mine.get(name) != others.get(name)
        ]

    def _flat(self, ignore: Collection[str]) -> dict[str, object]:
        names = [field.name for field in fields(self) if field.name not in ignore]
        flat = {name: getattr(self, name) for name in names}
        return flat | dict(flat.pop("packages", {}))


def fingerprint(root: Path = ROOT) -> Fingerprint:
    """Describe this machine and the installed libraries.

    Args:
        root: where proc, sys and etc are.
    """
    return Fingerprint(
        cpu=cpu_name(root),
        cpu_features=cpu_features(root),
        cores=usable_cores(root / "sys"),
        processors=len(allowed_cpus()),
        memory_gib=_memory_gib(root),
        accelerators=_accelerators(root),
        system=_system(root),
        kernel=f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages=_packages(),
    )


def _packages() -> dict[str, str]:
    plugins = registering(GROUP)
    # A runtime comes under several names, such as NAME-gpu.
    names = (*LIBRARIES, *registered(GROUP))
    return {
        name: version
        for name, version in sorted(installed().items())
        if name in plugins or name in names or name.startswith(tuple(f"{n}-" for n in names))
    }


def _memory_gib(root: Path) -> int | None:
    lines = read(root / "proc/meminfo").splitlines()  # none where it is not Linux
    kib = [int(line.split()[1]) for line in lines if line.startswith("MemTotal:")]
    return round(kib[0] / 2**20) if kib else None


def _accelerators(root: Path) -> tuple[str, ...]:
    devices = sorted((root / "sys/bus/pci/devices").glob("*"))  # empty where there is no such bus
    return tuple(
        _pci_name(device)
        for device in devices
        if read(device / "class").startswith(ACCELERATOR_CLASSES)
    )


def _pci_name(device: Path) -> str:
    """Name a device by its numbers, with its driver, which runtimes go through."""
    driver = device / "driver"
    numbers = ":".join(read(device / name).removeprefix("0x") for name in ("vendor", "device"))
    name = driver.resolve().name if driver.exists() else ""
    return " ".join(filter(None, (numbers, name, read(driver / "module/version"))))


def _system(root: Path) -> str:
    for line in read(root / "etc/os-release").splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip("\"'")
    return f"{platform.system()} {platform.release()}"
