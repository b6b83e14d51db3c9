"""How many processor cores this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path

SYSTEM = Path("/sys")


def usable_cores(system: Path = SYSTEM) -> int:
    """Count the physical cores that this process may run on.

    Runtimes count the machine's cores; in a container, or pinned by taskset, that is too many, and
    threads beyond the physical cores slow matrix work down.

    Args:
        system: where sysfs is mounted.

    Returns:
        Distinct physical cores in this process's affinity mask, at most the cgroup's processor
        quota rounded up, at least 1.
    """
    cores = len({_core_of(cpu, system) for cpu in allowed_cpus()})
    return max(1, min(cores, _quota(system)))


def allowed_cpus() -> set[int]:
    """Logical processors in this process's affinity mask; all of them where there is none."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _core_of(cpu: int, system: Path) -> str:
    siblings = system / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
    try:
        return siblings.read_text().strip()
    except OSError:  # no sysfs (macOS, Windows): every logical processor counts
        return str(cpu)


def _quota(system: Path) -> int:
    try:
        quota, period = (system / "fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):  # no cgroup v2
        return os.cpu_count() or 1
    return (os.cpu_count() or 1) if quota == "max" else math.ceil(int(quota) / int(period))
