"""How much memory this process has."""

import os
from pathlib import Path

from edgevit.core.machine.cpu import read

PROCESS = Path("/proc/self")


def resident_mib(process: Path = PROCESS) -> float | None:
    """Resident memory now, in MiB; None where the system does not tell.

    Args:
        process: the process's folder in procfs.
    """
    pages = read(process / "statm").split()  # none where it is not Linux
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if pages else None


def peak_resident_mib(process: Path = PROCESS) -> float | None:
    """Largest resident memory so far, in MiB; None where the system does not tell.

    Args:
        process: the process's folder in procfs.
    """
    lines = read(process / "status").splitlines()  # none where it is not Linux
    peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return peaks[0] / 2**10 if peaks else None
