"""The TensorRT backend against fakes; tests/backends/fakes/read_bindings.py says what is real."""

import logging
import os
import subprocess
import sys

import pytest
from tensorrt_machine import LIBRARIES, VERSIONS

from edgevit.core.runtime.registry import choose_backend, get_backend
from edgevit.errors import (
    BackendError,
    BackendUnavailableError,
    DeviceError,
)
from edgevit.testing import CHECKS, BackendWithOptions

# Rules in which versions of TensorRT, or the libraries that reach CUDA, differ.
DISTINGUISHING = (
    "tensors_are_described_as_in_the_file",
    "answers_are_right",
    "half_precision_is_right_or_refused",
    "batch_may_grow_and_shrink",
    "outputs_are_not_the_feeds",
    "failed_run_is_an_inference_error",
    "sessions_run_on_several_threads",
    "unsupported_operator_is_refused",
    "submitted_runs_answer_as_run_does",
)

BUILT_IN_A_CHILD = (
    "backend_follows_the_protocol",
    "half_precision_is_right_or_refused",
    "unreadable_models_are_refused",
    "unsupported_operator_is_refused",
)


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """A cache for all tests of the kit: each engine is built once."""
    return tmp_path_factory.mktemp("engines")


def keep(rule, machine, engines, monkeypatch, version, library, builds_here=True, **options):
    monkeypatch.setenv("EDGEVIT_CACHE", str(engines))
    backend = machine(version=version, library=library).backend(builds_here=builds_here)
    CHECKS[rule](BackendWithOptions(backend, options), "cuda:0")


@pytest.mark.parametrize("rule", CHECKS)
def test_backend_keeps_the_rule(rule, machine, engines, monkeypatch):
    builds_here = rule not in BUILT_IN_A_CHILD
    keep(rule, machine, engines, monkeypatch, "10.3.0", "cuda_bindings", builds_here)


@pytest.mark.parametrize("rule", DISTINGUISHING)
@pytest.mark.parametrize(
    ("version", "library"), [("8.6.1", "pycuda_only"), ("11.4.0", "cuda_bindings")]
)
def test_backend_keeps_what_differs(rule, version, library, machine, engines, monkeypatch):
    keep(rule, machine, engines, monkeypatch, version, library)


@pytest.mark.slow
@pytest.mark.parametrize("rule", CHECKS)
@pytest.mark.parametrize("contexts", [1, 3])
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("version", VERSIONS)
def test_backend_keeps_the_rule_everywhere(
    rule, version, library, contexts, machine, engines, monkeypatch
):
    keep(rule, machine, engines, monkeypatch, version, library, contexts=contexts)


# What is there, and what is not


@pytest.mark.parametrize("library", LIBRARIES)
def test_gpus_come_before_dla_cores(library, machine):
    backend = machine(library=library, gpus=["Orin", "A2"], dla_cores=2).backend()
    assert backend.devices() == ["cuda:0", "cuda:1", "dla:0", "dla:1"]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        pytest.param({"driver": "absent"}, DeviceError, "driver does not answer", id="no driver"),
        pytest.param({"driver": False}, DeviceError, "driver does not answer", id="driver fails"),
        pytest.param({"gpus": []}, DeviceError, "finds no GPU; check nvidia-smi", id="no gpu"),
        pytest.param(
            {"lacking": ["IExecutionContext.execute_async_v3"], "version": "8.6.1"},
            BackendError,
            r"TensorRT 8.6.1 is too old: it lacks IExecutionContext.execute_async_v3; install",
            id="old",
        ),
    ],
)
def test_machine_that_cannot_run_is_explained(settings, error, message, library, machine):
    made = machine(library=library, **settings)
    with pytest.raises(error, match=message):
        made.backend()
    assert bool(made.events("tensorrt imported")) == (error is BackendError)


def test_missing_packages_are_named(machine):
    with pytest.raises(ImportError, match="tensorrt is not installed"):
        machine(packages=()).backend()
    with pytest.raises(ImportError, match="neither cuda-bindings nor PyCUDA"):
        machine(library=None).backend()


def test_tensorrt_whose_libraries_are_missing_is_explained(machine, tmp_path, monkeypatch):
    made = machine()
    broken = tmp_path / "broken/tensorrt"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libnvinfer.so.10: cannot open')")
    monkeypatch.syspath_prepend(str(broken.parent))
    with pytest.raises(BackendError, match=r"cannot be imported: libnvinfer.so.10"):
        made.backend()


def test_auto_takes_tensorrt_where_a_gpu_answers(machine, registered):
    machine()
    name, backend = choose_backend()
    assert (name, backend.devices()[0]) == ("tensorrt", "cuda:0")


def test_auto_goes_on_quietly_without_a_gpu(machine, registered, caplog):
    machine(driver="absent")
    with caplog.at_level(logging.WARNING):
        assert choose_backend()[0] != "tensorrt"
    assert caplog.records == []


def test_doctor_says_why_tensorrt_is_not_usable(machine, registered):
    from edgevit.doctor import diagnose

    machine(driver=False)
    (state,) = [state for state in diagnose().backends if state.name == "tensorrt"]
    assert state.devices == ()
    assert "the NVIDIA driver does not answer" in state.reason
    with pytest.raises(BackendUnavailableError, match="'tensorrt' cannot be started: DeviceError"):
        get_backend("tensorrt")


def test_importing_the_plugin_loads_nothing_of_nvidia(machine):
    machine()
    program = (
        "import sys, edgevit_tensorrt; print({'tensorrt', 'cuda', 'pycuda'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"
