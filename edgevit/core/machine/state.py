"""The state of the machine around a measurement: clock, temperature, throttling, load.

All of it is read from sysfs and procfs; what a system does not tell is None.

Source: the Linux kernel's Documentation/ABI, sysfs-devices-system-cpu and sysfs-class-thermal; the
Raspberry Pi documentation of `vcgencmd get_throttled`.
"""

import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic

from edgevit.core.machine.cpu import ROOT, allowed_cpus, read, usable_cores

FIRMWARE_FLAGS = {
    0: "under-voltage",
    1: "clock capped",
    2: "throttled",
    3: "soft temperature limit",
    16: "under-voltage since boot",
    17: "clock capped since boot",
    18: "throttled since boot",
    19: "soft temperature limit since boot",
}

SAMPLE_PERIOD_S = 0.25
FALLEN = 0.95  # of the first clock; governors move it by less while the load stays
SLOW = 0.6  # of the processor's own maximum; all cores at work stay above this when they are cool
BUSY_SHARE = 0.25  # of the cores, by others


@dataclass(frozen=True, slots=True)
class MachineState:
    """The machine at one moment; None where the system does not tell.

    Args:
        clocks_mhz: the present clock of each processor that this process may use.
        clock_limit_mhz: the highest clock that the system allows now.
        clock_max_mhz: the highest clock of the hardware.
        governor: what sets the clock, e.g. `ondemand`.
        temperatures_c: degrees Celsius, by the sensor's name.
        throttle_events: how often the processor has slowed itself down since boot.
        is_cooled: whether the system slows the processor down now to cool it.
        firmware: what a Raspberry Pi's firmware reports, of `FIRMWARE_FLAGS`.
        load: processes that wanted to run, the average over the last minute.
    """

    clocks_mhz: tuple[int, ...] | None
    clock_limit_mhz: int | None
    clock_max_mhz: int | None
    governor: str | None
    temperatures_c: Mapping[str, float] | None
    throttle_events: int | None
    is_cooled: bool | None
    firmware: tuple[str, ...] | None
    load: float | None


@dataclass(frozen=True, slots=True)
class Conditions:
    """The machine around a run.

    Args:
        before: its state before the first model was loaded.
        after: its state after the last run.
        busy_clocks_mhz: the fastest processor's clock early and late in the run, medians of samples
            taken between runs; None where the system does not tell.
        peak_temperature_c: the hottest sensor during the run; None where the system does not tell.
        warnings: what a reader of the figures should know, in sentences.
    """

    before: MachineState
    after: MachineState
    busy_clocks_mhz: tuple[float, float] | None
    peak_temperature_c: float | None
    warnings: tuple[str, ...]


class MachineMonitor:
    """Looks at the machine before, during and after a run."""

    def __init__(self, root: Path = ROOT) -> None:
        """Look at it before.

        Args:
            root: where proc and sys are.
        """
        self._root = root
        self._before = machine_state(root)
        self._clocks: list[int] = []
        self._temperatures: list[float] = []
        self._due = monotonic()

    def tick(self) -> None:
        """Look at clock and temperature during the run, as often as makes sense."""
        if monotonic() >= self._due:
            self._clocks += [max(clocks)] if (clocks := _clocks(self._root)) else []
            self._temperatures += (_temperatures(self._root) or {}).values()
            self._due = monotonic() + SAMPLE_PERIOD_S

    def finish(self) -> Conditions:
        """Look at it after, and say what is to be known of the run."""
        after = machine_state(self._root)
        busy = _early_and_late(self._clocks)
        peak = max(self._temperatures, default=None)
        cores = usable_cores(self._root / "sys")
        warnings = tuple(_warnings(self._before, after, busy, cores))
        return Conditions(self._before, after, busy, peak, warnings)


def machine_state(root: Path = ROOT) -> MachineState:
    """Look at the machine now.

    Args:
        root: where proc and sys are.
    """
    governors = dict.fromkeys(_each_cpu(root, "cpufreq/scaling_governor"))  # in order, once each
    load = read(root / "proc/loadavg")
    return MachineState(
        clocks_mhz=_clocks(root) or None,
        clock_limit_mhz=max(_mhz(_each_cpu(root, "cpufreq/scaling_max_freq")), default=None),
        clock_max_mhz=max(_mhz(_each_cpu(root, "cpufreq/cpuinfo_max_freq")), default=None),
        governor=", ".join(governors) or None,
        temperatures_c=_temperatures(root) or None,
        throttle_events=_throttle_events(root),
        is_cooled=_is_cooled(root),
        firmware=_firmware(),
        load=float(load.split()[0]) if load else None,
    )


def _warnings(
    before: MachineState, after: MachineState, busy: tuple[float, float] | None, cores: int
) -> Iterable[str]:
    if busy is not None and busy[1] < FALLEN * busy[0]:
        yield f"the clock fell from {busy[0]:.0f} to {busy[1]:.0f} MHz during the run"
    if busy is not None and after.clock_max_mhz and busy[1] < SLOW * after.clock_max_mhz:
        yield (
            f"the processor ran at {busy[1]:.0f} of {after.clock_max_mhz} MHz "
            f"(governor: {after.governor or 'unknown'})"
        )
    if _has_fallen(before.clock_limit_mhz, after.clock_limit_mhz):
        yield (
            f"the system lowered the clock's limit from {before.clock_limit_mhz} to "
            f"{after.clock_limit_mhz} MHz during the run"
        )
    if _has_fallen(after.throttle_events, before.throttle_events):
        yield "the processor slowed itself down against heat during the run"
    if after.is_cooled:
        yield "the system slows the processor down to cool it"
    yield from _firmware_warnings(before.firmware or (), after.firmware or ())
    if before.load is not None and before.load > BUSY_SHARE * cores:
        yield f"other programs were at work before the run (load {before.load:.1f})"


def _firmware_warnings(before: Sequence[str], after: Sequence[str]) -> Iterable[str]:
    old = [flag for flag in after if flag.endswith("boot") and flag in before]
    if recent := [flag for flag in after if flag not in old]:
        yield f"the firmware reports during the run: {', '.join(recent)}"
    if old:
        yield f"the firmware reported already before the run: {', '.join(old)}"


def _has_fallen(before: int | None, after: int | None) -> bool:
    return before is not None and after is not None and after < before


def _early_and_late(clocks: Sequence[int]) -> tuple[float, float] | None:
    quarter = (len(clocks) + 3) // 4
    return (median(clocks[:quarter]), median(clocks[-quarter:])) if clocks else None


def _clocks(root: Path) -> tuple[int, ...]:
    return tuple(_mhz(_each_cpu(root, "cpufreq/scaling_cur_freq")))


def _mhz(texts_khz: Iterable[str]) -> list[int]:
    return [round(int(text) / 1000) for text in texts_khz if text.isdecimal()]


def _temperatures(root: Path) -> dict[str, float]:
    """Thermal zones; where there are none, as on many servers, the first of each chip's sensors."""
    zones = _sensors(root, "thermal/thermal_zone*", "type", "temp")
    return zones or _sensors(root, "hwmon/hwmon*", "name", "temp1_input")


def _sensors(root: Path, pattern: str, name: str, value: str) -> dict[str, float]:
    found = {}
    for folder in sorted((root / "sys/class").glob(pattern)):
        text = read(folder / value)
        if text.removeprefix("-").isdecimal():  # millidegrees
            found[read(folder / name) or folder.name] = int(text) / 1000
    return found


def _throttle_events(root: Path) -> int | None:
    counts = [
        int(text)
        for kind in ("core", "package")
        for text in _each_cpu(root, f"thermal_throttle/{kind}_throttle_count")
    ]
    return sum(counts) if counts else None


def _is_cooled(root: Path) -> bool | None:
    """Fans and displays are cooling devices, too; only those that slow a processor count."""
    states = [
        read(folder / "cur_state")
        for folder in (root / "sys/class/thermal").glob("cooling_device*")
        if _is_processor(read(folder / "type"))
    ]
    return any(state not in ("", "0") for state in states) if states else None


def _is_processor(kind: str) -> bool:
    return kind == "Processor" or "cpufreq" in kind


def _firmware() -> tuple[str, ...] | None:
    command = shutil.which("vcgencmd")
    if command is None:
        return None
    try:
        done = subprocess.run(
            [command, "get_throttled"], capture_output=True, text=True, check=False, timeout=5
        )
        bits = int(done.stdout.strip().removeprefix("throttled="), 16)
    except (OSError, ValueError, subprocess.TimeoutExpired):  # another board, or no permission
        return None
    return tuple(name for bit, name in FIRMWARE_FLAGS.items() if bits >> bit & 1)


def _each_cpu(root: Path, name: str) -> list[str]:
    folders = (root / f"sys/devices/system/cpu/cpu{cpu}" for cpu in sorted(allowed_cpus()))
    texts = (read(folder / name) for folder in folders)
    return [text for text in texts if text]
