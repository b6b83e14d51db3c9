import pytest

from edgevit.core.machine.state import MachineMonitor, machine_state

QUIET = {
    "proc/loadavg": "0.10 0.20 0.30 1/100 4242",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1500000",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1500000",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "600000",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "ondemand",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "4",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "48312",
    "sys/class/thermal/cooling_device0/type": "pwm-fan",
    "sys/class/thermal/cooling_device0/cur_state": "3",
    "sys/class/thermal/cooling_device1/type": "cpufreq-cpu0",
    "sys/class/thermal/cooling_device1/cur_state": "0",
}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A made-up machine with two processors; call it to write its files, by path."""
    monkeypatch.setattr("edgevit.core.machine.state.allowed_cpus", lambda: {0, 1})
    monkeypatch.setattr("edgevit.core.machine.state.SAMPLE_PERIOD_S", 0)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return tmp_path

    return write


def firmware(machine, answer):
    root = machine({"bin/vcgencmd": f"#!/bin/sh\n{answer}"})
    (root / "bin/vcgencmd").chmod(0o755)
    return root


def test_a_system_that_tells_nothing_is_unknown(machine):
    state = machine_state(machine({}))
    assert {getattr(state, name) for name in state.__slots__} == {None}


def test_clock_governor_temperature_and_throttling_are_read(machine):
    state = machine_state(machine(QUIET))
    assert (state.clocks_mhz, state.clock_limit_mhz, state.clock_max_mhz) == (
        (1500, 600),
        1500,
        1500,
    )
    assert (state.governor, state.load) == ("ondemand", 0.1)
    assert state.temperatures_c == {"cpu-thermal": 48.312}
    assert (state.throttle_events, state.is_cooled, state.firmware) == (7, False, None)


def test_without_thermal_zones_the_chips_sensors_count(machine):
    root = machine(
        {"sys/class/hwmon/hwmon0/name": "chip", "sys/class/hwmon/hwmon0/temp1_input": "61000"}
    )
    assert machine_state(root).temperatures_c == {"chip": 61.0}


def test_a_sensor_without_a_number_is_left_out(machine):
    root = machine({"sys/class/thermal/thermal_zone0/temp": "disabled"})
    assert machine_state(root).temperatures_c is None


@pytest.mark.parametrize(
    ("answer", "flags"),
    [
        pytest.param("echo throttled=0x0", (), id="nothing"),
        pytest.param(
            "echo throttled=0x50005",
            (
                "under-voltage",
                "throttled",
                "under-voltage since boot",
                "throttled since boot",
            ),
            id="under-voltage and throttled",
        ),
        pytest.param("echo throttled=0x80000", ("soft temperature limit since boot",), id="limit"),
        pytest.param("echo VCHI initialization failed; exit 255", None, id="no permission"),
    ],
)
def test_the_firmwares_flags_are_named(machine, answer, flags):
    assert machine_state(firmware(machine, answer)).firmware == flags


def conditions(machine, before, during, after):
    """MachineMonitor a quiet machine whose files change."""
    root = machine({**QUIET, **before})
    watch = MachineMonitor(root)
    for files in during:
        machine(files)
        watch.tick()
    machine(after)
    return watch.finish()


CLOCK = "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
LIMIT = "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq"
EVENTS = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
COOLED = "sys/class/thermal/cooling_device1/cur_state"
TEMPERATURE = "sys/class/thermal/thermal_zone0/temp"


@pytest.mark.parametrize(
    ("before", "during", "after", "warnings"),
    [
        pytest.param({}, [], {}, [], id="nothing happens"),
        pytest.param({}, [{}] * 8, {}, [], id="the clock holds"),
        pytest.param(
            {},
            [{CLOCK: f"{mhz}000"} for mhz in (1500, 1500, 1400, 1400, 1300, 1300, 1200, 1200)],
            {},
            ["the clock fell from 1500 to 1200 MHz during the run"],
            id="the clock falls",
        ),
        pytest.param(
            {}, [{CLOCK: "600000"}, {CLOCK: "1500000"}, {}, {}], {}, [], id="the clock rises"
        ),
        pytest.param(
            {CLOCK: "800000"},
            [{}] * 4,
            {},
            ["the processor ran at 800 of 1500 MHz (governor: ondemand)"],
            id="slow all the time",
        ),
        pytest.param(
            {},
            [],
            {LIMIT: "1000000"},
            ["the system lowered the clock's limit from 1500 to 1000 MHz during the run"],
            id="the limit falls",
        ),
        pytest.param(
            {},
            [],
            {EVENTS: "5"},
            ["the processor slowed itself down against heat during the run"],
            id="throttled",
        ),
        pytest.param(
            {}, [], {COOLED: "2"}, ["the system slows the processor down to cool it"], id="cooled"
        ),
        pytest.param(
            {"proc/loadavg": "2.50 1 1 1/1 1"},
            [],
            {},
            ["other programs were at work before the run (load 2.5)"],
            id="busy",
        ),
    ],
)
def test_what_slows_a_run_is_warned_of(machine, before, during, after, warnings):
    assert list(conditions(machine, before, during, after).warnings) == warnings


def test_the_firmwares_old_flags_and_new_ones_are_told_apart(machine):
    watch = MachineMonitor(firmware(machine, "echo throttled=0x10000"))
    firmware(machine, "echo throttled=0x50004")
    assert watch.finish().warnings == (
        "the firmware reports during the run: throttled, throttled since boot",
        "the firmware reported already before the run: under-voltage since boot",
    )


def test_the_hottest_moment_is_kept(machine):
    during = [{TEMPERATURE: "50000"}, {TEMPERATURE: "81500"}, {TEMPERATURE: "70000"}]
    found = conditions(machine, {}, during, {TEMPERATURE: "60000"})
    assert found.peak_temperature_c == 81.5
    assert found.busy_clocks_mhz == (1500, 1500)


def test_samples_are_not_taken_more_often_than_makes_sense(machine, monkeypatch):
    monkeypatch.setattr("edgevit.core.machine.state.SAMPLE_PERIOD_S", 1e9)
    during = [{TEMPERATURE: "50000"}, {TEMPERATURE: "99000"}]
    assert conditions(machine, {}, during, {}).peak_temperature_c == 50
