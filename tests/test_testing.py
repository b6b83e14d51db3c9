import importlib
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgevit.backend import Backend, Session, TensorInfo
from edgevit.errors import DeviceError, InferenceError, InputError
from edgevit.testing import CHECKS, ConformanceError, FakeBackend, check_backend

X = TensorInfo("x", np.dtype("f4"), (None, 2))
Y = TensorInfo("y", np.dtype("f4"), (None, 3))


@pytest.fixture
def runtime(monkeypatch):
    """A third party's plugin that keeps every rule, to break."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "package_with_entrypoint")
    yield importlib.import_module("numpy_runtime")
    del sys.modules["numpy_runtime"]


def wrapped_run(change):
    """Break `run`: `change` gets the session, its true run and the feeds."""

    def apply(runtime, monkeypatch):
        true_run = runtime.NumpySession.run
        monkeypatch.setattr(
            runtime.NumpySession, "run", lambda self, feeds: change(self, true_run, feeds)
        )

    return apply


def wrapped_load(change):
    """Break `load`: `change` gets the true load and its arguments."""

    def apply(runtime, monkeypatch):
        true_load = runtime.NumpyBackend.load
        monkeypatch.setattr(
            runtime.NumpyBackend,
            "load",
            lambda self, model, *, device, options: change(
                lambda model=model, device=device, options=options: true_load(
                    self, model, device=device, options=options
                ),
                model,
                device,
                options,
            ),
        )

    return apply


def operator(name, function):
    return lambda runtime, monkeypatch: monkeypatch.setitem(runtime.OPERATORS, name, function)


def devices(*names):
    return lambda runtime, monkeypatch: monkeypatch.setattr(
        runtime.NumpyBackend, "devices", lambda self: list(names)
    )


def reordered_inputs(load, model, device, options):
    session = load()
    session.inputs = sorted(session.inputs, key=lambda info: info.name)
    return session


def remembered_feeds(session, run, feeds):
    session.first = getattr(session, "first", None) or {k: v.copy() for k, v in feeds.items()}
    return run(session, session.first)


def shared_buffers(session, run, feeds, buffers={}):  # noqa: B006  # shared on purpose
    for name, array in run(session, feeds).items():
        buffer = buffers.setdefault((name, array.shape), np.empty_like(array))
        buffer[...] = array
        feeds = {**feeds, name: buffer}
    return {info.name: feeds[info.name] for info in session.outputs}


def kept_outputs(session, run, feeds, kept=[]):  # noqa: B006  # leaks on purpose
    kept.append(run(session, feeds))
    return kept[-1]


def overwritten_feeds(session, run, feeds):
    outputs = run(session, feeds)
    for array in filter(lambda array: array.flags.writeable, feeds.values()):
        array[...] = 0
    return outputs


def thread_bound(session, run, feeds):
    import threading

    if session.__dict__.setdefault("owner", threading.get_ident()) != threading.get_ident():
        raise RuntimeError("used on another thread")
    return run(session, feeds)


def vendor_error_while_running(session, run, feeds):
    try:
        return run(session, feeds)
    except InferenceError as exc:
        raise RuntimeError("vendor") from exc


def run_after_close(session, run, feeds):
    session.is_closed = False
    return run(session, feeds)


def without_options(load, model, device, options):
    return load(options={})


def any_device(load, model, device, options):
    return load(device="cpu")


def vendor_error_while_loading(load, model, device, options):
    try:
        return load()
    except Exception as exc:
        raise RuntimeError("vendor") from exc


def ascii_paths(load, model, device, options):
    str(model).encode("ascii")
    return load()


BROKEN = {
    "devices_are_distinct_names": devices("cpu", "cpu"),
    "tensors_are_described_as_in_the_file": wrapped_load(reordered_inputs),
    "answers_are_right": operator("Add", np.subtract),
    "half_precision_is_right_or_refused": operator("Mul", lambda x, y: (x * y).astype("f4")),
    "batch_may_grow_and_shrink": wrapped_run(remembered_feeds),
    "feeds_are_left_alone": wrapped_run(overwritten_feeds),
    "every_run_reads_its_feeds_anew": wrapped_run(remembered_feeds),
    "outputs_are_not_the_feeds": operator("Identity", lambda x: x),
    "copies_of_outputs_survive": wrapped_run(remembered_feeds),
    "failed_run_is_an_inference_error": wrapped_run(vendor_error_while_running),
    "closed_session_is_refused": wrapped_run(run_after_close),
    "sessions_do_not_disturb_each_other": wrapped_run(shared_buffers),
    "sessions_run_on_several_threads": wrapped_run(thread_bound),
    "unknown_device_is_refused": wrapped_load(any_device),
    "unknown_option_is_refused": wrapped_load(without_options),
    "threads_option_is_checked": wrapped_load(without_options),
    "unreadable_models_are_refused": wrapped_load(vendor_error_while_loading),
    "unsupported_operator_is_refused": wrapped_load(vendor_error_while_loading),
    "any_path_is_loaded": wrapped_load(ascii_paths),
    "memory_stays_flat": wrapped_run(kept_outputs),
}


@pytest.mark.parametrize("rule", CHECKS)
def test_backend_of_a_third_party_keeps_the_rule(rule, runtime):
    CHECKS[rule](runtime.NumpyBackend(), "cpu")


@pytest.mark.parametrize("rule", BROKEN)
def test_kit_sees_that_the_rule_is_broken(rule, runtime, monkeypatch):
    BROKEN[rule](runtime, monkeypatch)
    with pytest.raises((ConformanceError, RuntimeError, UnicodeError)):
        CHECKS[rule](runtime.NumpyBackend(), "cpu")


def test_broken_rules_are_named_together(runtime, monkeypatch):
    operator("Add", np.subtract)(runtime, monkeypatch)
    wrapped_run(run_after_close)(runtime, monkeypatch)
    with pytest.raises(ConformanceError, match="NumpyBackend on 'cpu' breaks") as caught:
        check_backend(runtime.NumpyBackend())
    assert "answers_are_right: ConformanceError: pair.onnx, first run" in str(caught.value)
    assert "closed_session_is_refused" in str(caught.value)
    assert "unknown_device_is_refused" not in str(caught.value)


def test_backend_that_keeps_every_rule_passes(runtime):
    check_backend(runtime.NumpyBackend(), device="cpu")


def test_backend_without_devices_fails_rather_than_crashes(runtime, monkeypatch):
    devices()(runtime, monkeypatch)
    with pytest.raises(ConformanceError, match="devices_are_distinct_names"):
        check_backend(runtime.NumpyBackend())


def test_fake_backend_follows_the_protocols():
    backend = FakeBackend([X], [Y])
    assert isinstance(backend, Backend)
    assert isinstance(backend.load(Path("none"), device="cpu", options={}), Session)


def test_fake_backend_answers_zeros_of_the_batch():
    session = FakeBackend([X], [Y]).load(Path("none"), device="cpu", options={})
    np.testing.assert_array_equal(session.run({"x": np.ones((4, 2), "f4")})["y"], np.zeros((4, 3)))


def test_fake_backend_fails_as_it_is_told():
    def fail(feeds):
        raise InferenceError("out of memory")

    session = FakeBackend([X], [Y], run=fail).load(Path("none"), device="cpu", options={})
    with pytest.raises(InferenceError, match="out of memory"):
        session.run({})


def test_fake_backend_takes_its_time():
    session = FakeBackend([X], [Y], latency_s=0.02).load(Path("none"), device="cpu", options={})
    start = time.perf_counter()
    session.run({"x": np.ones((1, 2), "f4")})
    assert time.perf_counter() - start >= 0.02


def test_fake_backend_remembers_loads_and_sessions():
    backend = FakeBackend([X], [Y], names=["npu", "cpu"])
    backend.load(Path("a.onnx"), device="npu", options={"threads": 2}).close()
    assert backend.loads == [(Path("a.onnx"), "npu", {"threads": 2})]
    assert backend.sessions[0].is_closed


@pytest.mark.parametrize(
    ("device", "options", "error"),
    [
        ("gpu", {}, DeviceError),
        ("cpu", {"speed": 1}, InputError),
        ("cpu", {"threads": 0}, InputError),
    ],
)
def test_fake_backend_refuses_what_a_backend_refuses(device, options, error):
    with pytest.raises(error):
        FakeBackend([X], [Y]).load(Path("none"), device=device, options=options)


def test_closed_fake_session_is_refused():
    session = FakeBackend([X], [Y]).load(Path("none"), device="cpu", options={})
    session.close()
    with pytest.raises(InferenceError, match="closed"):
        session.run({})
