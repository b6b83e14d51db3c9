"""What a search finds on the machine."""

import importlib
import sys

import pytest
from paths import DATA
from tiny_data import write_tiny_data

from edgevit.backend import TunableBackend, TuningOptions
from edgevit.core.runtime.registry import get_backend
from edgevit.tune import Choices, search
from edgevit.tune.inputs import read_inputs

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.fixture
def data(tmp_path):
    return write_tiny_data("classify", tmp_path / "data")


@pytest.fixture
def numpy_runtime(monkeypatch):
    """A third party's backend, `numpy`."""
    monkeypatch.syspath_prepend(DATA.parent / "package_with_entrypoint")
    get_backend.cache_clear()
    yield importlib.import_module("numpy_runtime")
    del sys.modules["numpy_runtime"]
    get_backend.cache_clear()


def test_a_plugin_that_offers_nothing_is_tuned_by_device_and_threads(tiny, data, numpy_runtime):
    runtime = read_inputs(tiny, data, Choices(["numpy"])).runtimes["numpy"]
    assert (runtime.devices, runtime.tuning) == (["cpu"], TuningOptions())


def test_what_a_third_partys_plugin_offers_is_tried(
    tiny, data, numpy_runtime, monkeypatch, simulated
):
    tuning = TuningOptions({"sleeps": {}, "spins": {"spin": True}})
    monkeypatch.setattr(
        numpy_runtime.NumpyBackend, "tuning_options", lambda self: tuning, raising=False
    )
    choices = Choices(["onnxruntime", "numpy"], precisions=["fp32"], threads=[2])
    report = search(tiny, data, choices=choices, converters={}, keep=False)
    own = [row.candidate for row in report.rows if row.candidate.backend == "numpy"]
    assert {(one.spinning, tuple(one.options.items())) for one in own} == {
        ("sleeps", ()),
        ("spins", (("spin", True),)),
    }


@pytest.mark.parametrize(
    ("name", "ways", "has_streams"),
    [
        ("onnxruntime", ["until-done", "always", "never"], False),
        ("openvino", ["default", "pinned"], True),
    ],
)
def test_our_plugins_say_what_may_be_tuned(name, ways, has_streams):
    pytest.importorskip(name, reason=f"{name} is not installed")
    backend = get_backend(name)
    assert isinstance(backend, TunableBackend)
    assert list(backend.tuning_options().spinning) == ways
    assert backend.tuning_options().has_streams == has_streams
