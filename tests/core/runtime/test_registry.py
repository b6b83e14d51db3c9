import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from edgevit.core.runtime.registry import backend_names, choose_backend, get_backend
from edgevit.errors import (
    BackendError,
    BackendNotFoundError,
    BackendUnavailableError,
    DeviceError,
)

PLUGIN = """
class Runtime:
    def devices(self):
        return [{devices}]
    def load(self, model, *, device, options):
        raise NotImplementedError
"""

GOOD = PLUGIN.format(devices="'cpu'")
ACCELERATED = PLUGIN.format(devices="'npu', 'cpu'")
NO_VENDOR = "import vendor_that_is_not_installed"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution with one plugin module where Python finds installed ones."""
    monkeypatch.setattr("edgevit.core.runtime.registry.PREFERENCE", ("second", "first"))
    monkeypatch.setattr("edgevit.core.runtime.registry.registered", lambda group: found(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    get_backend.cache_clear()

    def write(name: str, source: str) -> None:
        (tmp_path / f"plugin_{name}.py").write_text(source)

    yield write
    get_backend.cache_clear()
    for module in [name for name in sys.modules if name.startswith("plugin_")]:
        del sys.modules[module]


def found(folder: Path) -> dict[str, str]:
    """The plugins that `install` wrote, and none that this machine really has."""
    names = [path.stem.removeprefix("plugin_") for path in folder.glob("plugin_*.py")]
    return {name: f"plugin_{name}:Runtime" for name in names}


def test_names_come_in_the_order_that_auto_tries_them(install):
    for name in ("zebra", "first", "aardvark", "second"):
        install(name, GOOD)
    assert backend_names() == ["second", "first", "aardvark", "zebra"]


def test_no_plugins_are_no_names(install):
    assert backend_names() == []


def test_backend_is_made_once(install):
    install("first", GOOD)
    assert get_backend("first") is get_backend("first")


def test_unknown_name_suggests_the_closest(install):
    install("first", GOOD)
    with pytest.raises(
        BackendNotFoundError, match=r"\(did you mean 'first'\?\); registered: 'first'"
    ):
        get_backend("frist")


def test_missing_vendor_of_a_third_party_is_named(install):
    install("first", NO_VENDOR)
    with pytest.raises(
        BackendUnavailableError, match="No module named 'vendor_that_is_not_installed'; install"
    ):
        get_backend("first")


def test_missing_vendor_of_ours_is_a_line_that_installs_it(install, monkeypatch):
    install("openvino", "import openvino")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendUnavailableError) as caught:
        get_backend("openvino")
    assert str(caught.value) == (
        "backend 'openvino' is not installed (python -m pip install 'openvino>=2026.4')"
    )


def test_plugin_that_is_no_backend_is_refused(install):
    install("first", "def Runtime():\n    return 'a runtime'")
    with pytest.raises(BackendError, match=r"'first' is a str without devices\(\) and load\(\)"):
        get_backend("first")


@pytest.mark.parametrize(
    "source",
    ["class Other: ...", "def Runtime():\n    raise OSError('libvendor.so is missing')"],
    ids=["no such name in the module", "constructor raises"],
)
def test_plugin_that_cannot_be_started_is_unavailable_and_does_not_end_auto(install, source):
    install("second", source)
    install("first", GOOD)
    with pytest.raises(BackendUnavailableError, match=r"cannot be started: \w+Error"):
        get_backend("second")
    assert choose_backend()[0] == "first"


def test_auto_takes_the_first_usable_and_says_so(install, caplog):
    install("second", NO_VENDOR)
    install("first", GOOD)
    with caplog.at_level(logging.INFO, logger="edgevit"):
        name, backend = choose_backend()
    assert (name, backend.devices()) == ("first", ["cpu"])
    assert caplog.messages == [
        "backend auto: first, the first usable in preference order; not usable: second"
    ]


def test_auto_takes_the_first_that_has_the_device(install):
    install("second", GOOD)
    install("first", ACCELERATED)
    assert choose_backend("auto", "npu")[0] == "first"
    assert choose_backend("auto", "cpu")[0] == "second"


def test_auto_lists_every_backend_that_lacks_the_device(install):
    install("second", GOOD)
    install("first", ACCELERATED)
    with pytest.raises(DeviceError) as caught:
        choose_backend("auto", "tpu")
    assert "backend 'second' (did you mean 'cpu'?); available: 'cpu'" in str(caught.value)
    assert "available: 'npu', 'cpu'" in str(caught.value)


def test_auto_without_a_usable_backend_gives_every_reason(install):
    install("second", NO_VENDOR)
    install("first", "import another_vendor")
    with pytest.raises(BackendUnavailableError) as caught:
        choose_backend()
    assert "vendor_that_is_not_installed" in str(caught.value)
    assert "another_vendor" in str(caught.value)


def test_auto_without_plugins_says_what_to_install(install):
    with pytest.raises(
        BackendUnavailableError, match="no backend is registered, because edgevit is not"
    ):
        choose_backend()


def test_named_backend_is_not_replaced_by_a_usable_one(install):
    install("second", NO_VENDOR)
    install("first", GOOD)
    with pytest.raises(BackendUnavailableError, match="'second' cannot be imported"):
        choose_backend("second")


def test_third_party_distribution_is_found_and_keeps_every_rule():
    program = (
        "from edgevit.core.runtime.registry import backend_names, choose_backend\n"
        "from edgevit.testing import check_backend\n"
        "print(backend_names()[-1])\n"
        "check_backend(choose_backend('numpy')[1])\n"
    )
    installed = ROOT / "tests" / "package_with_entrypoint"
    path = os.pathsep.join([str(installed), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "numpy\n", "")
