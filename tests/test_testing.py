import importlib
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgevit.backend import AsyncSession, Backend, Session, TensorInfo, TuningOptions
from edgevit.errors import DeviceError, InferenceError, InputError
from edgevit.testing import (
    CHECKS,
    BackendWithOptions,
    ConformanceError,
    FakeBackend,
    check_backend,
)

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


def tuned(options):
    """Offer something to tune."""
    return lambda runtime, monkeypatch: monkeypatch.setattr(
        runtime.NumpyBackend, "tuning_options", lambda self: options, raising=False
    )


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
    outputs = run(session, feeds)
    # Small arrays may find room in what the process has freed before; 40 MiB never do.
    kept.append(outputs if len(kept) % 500 else np.ones(5 * 2**20))
    return outputs


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


def queued(breaking):
    """Break the session that has a queue."""

    def apply(runtime, monkeypatch):
        monkeypatch.setattr(runtime.NumpyBackend, "session", runtime.QueuedNumpySession)
        breaking(runtime, monkeypatch)

    return apply


def queue_member(name, change):
    """Break a member of the session that has a queue: `change` makes it from the true one."""

    def apply(runtime, monkeypatch):
        session = runtime.QueuedNumpySession
        monkeypatch.setattr(session, name, change(getattr(session, name)))

    return queued(apply)


def first_feeds_only(submit):
    return lambda self, feeds: submit(self, self.__dict__.setdefault("first", feeds))


def run_that_takes_all_places(run):
    def broken(self, feeds):
        for waiting in self.queue:
            waiting.feeds = feeds
        return run(self, feeds)

    return broken


def endless_queue(submit):
    def broken(self, feeds):
        self.queue.clear()
        return submit(self, feeds)

    return broken


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
    "tuning_options_do_not_change_answers": tuned(TuningOptions({"never": {"spin": False}})),
    "unreadable_models_are_refused": wrapped_load(vendor_error_while_loading),
    "unsupported_operator_is_refused": wrapped_load(vendor_error_while_loading),
    "any_path_is_loaded": wrapped_load(ascii_paths),
    "memory_stays_flat": wrapped_run(kept_outputs),
    "submitted_runs_answer_as_run_does": queue_member("submit", first_feeds_only),
    "max_in_flight_is_a_number": queue_member("max_in_flight", float),
    "feeds_are_free_after_result": queued(operator("Identity", lambda x: x)),
    "run_counts_as_submitted": queue_member("run", run_that_takes_all_places),
    "outputs_that_are_given_up_are_refused": queue_member("submit", endless_queue),
    "failed_submitted_run_is_an_inference_error": queued(wrapped_run(vendor_error_while_running)),
    "closed_session_refuses_submitted_runs": queued(wrapped_run(run_after_close)),
    "results_are_taken_on_any_thread": queued(wrapped_run(thread_bound)),
}


@pytest.mark.parametrize("session", ["NumpySession", "QueuedNumpySession"])
@pytest.mark.parametrize("rule", CHECKS)
def test_backend_of_a_third_party_keeps_the_rule(rule, session, runtime, monkeypatch):
    monkeypatch.setattr(runtime.NumpyBackend, "session", getattr(runtime, session))
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


def fake_queue(**fields):
    doubler = FakeBackend([X], [Y], run=lambda feeds: {"y": feeds["x"][:, :1] * 2}, **fields)
    return doubler.load(Path("none"), device="cpu", options={})


def ones(scale):
    return {"x": np.full((1, 2), scale, np.float32)}


def test_fake_session_has_a_queue_where_the_test_wants_one():
    assert not isinstance(fake_queue(), AsyncSession)
    session = fake_queue(max_in_flight=2)
    assert isinstance(session, AsyncSession)
    handles = [session.submit(ones(1)), session.submit(ones(2))]
    assert [float(handle.result()["y"][0, 0]) for handle in reversed(handles)] == [4, 2]
    assert (session.runs, session.most_in_flight) == (2, 2)


def test_fake_queue_shows_outputs_that_are_kept_too_long():
    session = fake_queue(max_in_flight=2)
    kept = session.submit(ones(1)).result()["y"]
    session.submit(ones(2))
    assert kept[0, 0] == 2
    late = session.submit(ones(3))
    assert kept[0, 0] == 0
    session.close()
    with pytest.raises(InferenceError, match="given up"):
        late.result()


def test_fake_queue_works_while_nobody_waits(monkeypatch):
    waits = []
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    monkeypatch.setattr(time, "sleep", waits.append)
    session = fake_queue(max_in_flight=2, latency_s=5)
    handles = [session.submit(ones(1)), session.submit(ones(2))]
    assert waits == []
    for handle in handles:
        handle.result()
    assert waits == [5, 10]


def test_options_given_beforehand_go_to_every_load():
    backend = FakeBackend([X], [Y])
    wrapped = BackendWithOptions(backend, {"threads": 2})
    assert list(wrapped.devices()) == ["cpu"]
    wrapped.load(Path("a"), device="cpu", options={})
    wrapped.load(Path("a"), device="cpu", options={"threads": 3})
    assert [options for _, _, options in backend.loads] == [{"threads": 2}, {"threads": 3}]


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
