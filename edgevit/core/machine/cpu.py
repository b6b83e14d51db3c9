"""Which processor this is, and how many of its cores this process may really use."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path

ROOT = Path("/")
SYSTEM = ROOT / "sys"

# Of /proc/cpuinfo, those that decide how fast a network runs.
CPU_FEATURES = (
    *("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve"),
)


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


def cpu_name(root: Path = ROOT) -> str:
    """Name the processor, or the board where the kernel names that, or else the architecture.

    Args:
        root: where proc is.
    """
    return _cpuinfo(root).get("model name") or _board(root) or platform.machine()


def cpu_features(root: Path = ROOT) -> tuple[str, ...]:
    """List the instruction sets that matter for inference; none where the system does not tell.

    Args:
        root: where proc is.
    """
    fields = _cpuinfo(root)
    present = set((fields.get("flags") or fields.get("Features") or "").split())
    return tuple(feature for feature in CPU_FEATURES if feature in present)


def _cpuinfo(root: Path) -> dict[str, str]:
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return {"model name": platform.processor()}
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _board(root: Path) -> str:
    """Arm kernels name the board, not the processor."""
    try:
        return (root / "proc/device-tree/model").read_text().strip("\0\n")
    except OSError:  # no device tree
        return ""
