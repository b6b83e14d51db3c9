"""Which processor this is, and how many of its cores this process may really use."""

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
    return read(siblings) or str(cpu)  # no sysfs (macOS, Windows): every logical processor counts


def _quota(system: Path) -> int:
    try:
        quota, period = read(system / "fs/cgroup/cpu.max").split()
    except ValueError:  # no cgroup v2
        return os.cpu_count() or 1
    return (os.cpu_count() or 1) if quota == "max" else math.ceil(int(quota) / int(period))


def cpu_name(root: Path = ROOT) -> str:
    """Name the processor, or the board where the kernel names that, or else the architecture.

    Args:
        root: where proc is.
    """
    board = read(root / "proc/device-tree/model").strip("\0\n")  # Arm kernels name that instead
    return _cpuinfo(root).get("model name") or board or platform.machine()


def cpu_features(root: Path = ROOT) -> tuple[str, ...]:
    """List the instruction sets that matter for inference; none where the system does not tell.

    Args:
        root: where proc is.
    """
    fields = _cpuinfo(root)
    present = set((fields.get("flags") or fields.get("Features") or "").split())
    return tuple(feature for feature in CPU_FEATURES if feature in present)


def _cpuinfo(root: Path) -> dict[str, str]:
    text = read(root / "proc/cpuinfo")
    if not text:  # not Linux
        return {"model name": platform.processor()}
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def read(path: Path) -> str:
    """Read a file that the system keeps about itself, stripped; empty where it has none."""
    try:
        return path.read_text().strip()
    except OSError:  # this system has no such file, or the sensor does not answer now
        return ""
