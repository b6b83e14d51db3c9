"""How much memory this process has."""

from __future__ import annotations

import os
from pathlib import Path

PROCESS = Path("/proc/self")


def resident_mib(process: Path = PROCESS) -> float | None:
    """Resident memory now, in MiB; None where the system does not tell.

    Args:
        process: the process's folder in procfs.
    """
    try:
        pages = int((process / "statm").read_text().split()[1])
    except OSError:  # not Linux
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak_resident_mib(process: Path = PROCESS) -> float | None:
    """Largest resident memory so far, in MiB; None where the system does not tell.

    Args:
        process: the process's folder in procfs.
    """
    try:
        lines = (process / "status").read_text().splitlines()
    except OSError:  # not Linux
        return None
    peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return peaks[0] / 2**10 if peaks else None
