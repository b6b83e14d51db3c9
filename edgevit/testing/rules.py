"""The rules that every backend keeps."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import MappingProxyType

import numpy as np

from edgevit.backend import Backend, Session, TunableBackend
from edgevit.core.machine.memory import resident_mib
from edgevit.errors import DeviceError, InferenceError, InputError, LoadError, ModelError
from edgevit.testing.async_rules import ASYNC_CHECKS
from edgevit.testing.expect import (
    ConformanceError,
    check_answer,
    compare,
    loaded,
    refused,
    require,
    run,
)
from edgevit.testing.models import (
    CONVOLUTION,
    EXACT_MODELS,
    FOURS,
    HALF,
    IDENTITY,
    PAIR,
    UNSUPPORTED,
)

Check = Callable[[Backend, str], None]

LEAK_RUNS, LEAK_MIB = 1000, 8


def check_backend(backend: Backend, *, device: str | None = None) -> None:
    """Hold a backend against every rule in `CHECKS`.

    Args:
        backend: what is tested; it loads models and computes.
        device: the device to use; None for the first of `backend.devices()`.

    Raises:
        ConformanceError: naming every broken rule and what was seen.
    """
    broken = []
    target = device or next(iter(backend.devices()), "none")
    for rule, check in CHECKS.items():
        try:
            check(backend, target)
        except Exception as exc:  # whatever a plugin raises breaks the rule
            broken.append(f"{rule}: {type(exc).__name__}: {exc}")
    if broken:
        listed = "\n  ".join(broken)
        raise ConformanceError(
            f"{type(backend).__name__} on {target!r} breaks {len(broken)} of {len(CHECKS)} rules:"
            f"\n  {listed}"
        )


def backend_follows_the_protocol(backend: Backend, device: str) -> None:
    """It has `devices()` and `load()`, its sessions the four members of Session."""
    require(isinstance(backend, Backend), "a backend has devices() and load()")
    with loaded(backend, device, PAIR) as session:
        require(isinstance(session, Session), "a session has inputs, outputs, run() and close()")


def devices_are_distinct_names(backend: Backend, device: str) -> None:
    """`devices()` lists distinct names, more than once the same ones."""
    names = list(backend.devices())
    require(bool(names), "devices() is empty")
    require(all(isinstance(name, str) and name for name in names), f"not names: {names}")
    require(len(set(names)) == len(names), f"a device is listed twice: {names}")
    require("auto" not in names, "'auto' is resolved by edgevit; list the device it stands for")
    require(list(backend.devices()) == names, "devices() answers differently the second time")


def tensors_are_described_as_in_the_file(backend: Backend, device: str) -> None:
    """Names, dtypes and shapes are those of the file, in its order, free axes None."""
    for model in EXACT_MODELS:
        with loaded(backend, device, model) as session:
            for kind, got, want in (
                ("inputs", session.inputs, model.inputs),
                ("outputs", session.outputs, model.outputs),
            ):
                seen, listed = ", ".join(map(str, got)), ", ".join(map(str, want))
                require(tuple(got) == want, f"{model.file}: {kind} {seen}, not {listed}")


def answers_are_right(backend: Backend, device: str) -> None:
    """Every model of the kit computes what NumPy computes."""
    for model in EXACT_MODELS:
        with loaded(backend, device, model) as session:
            check_answer(session, device, model, "first run", batch=4)


def half_precision_is_right_or_refused(backend: Backend, device: str) -> None:
    """A float16 graph is computed, or refused with LoadError."""
    try:
        session = backend.load(HALF.path, device=device, options={})
    except LoadError:
        return
    with closing(session):
        compare(run(session, HALF.feeds()), HALF.answer(HALF.feeds()), "any", HALF.file)


def batch_may_grow_and_shrink(backend: Backend, device: str) -> None:
    """One session takes any length on a free axis, up and down."""
    with loaded(backend, device, PAIR) as session:
        for batch in (1, 2, 5, 3, 4, 1, 5):
            check_answer(session, device, PAIR, f"batch {batch}", batch=batch)


def wrong_feeds_are_refused(backend: Backend, device: str) -> None:
    """The description of the inputs suffices to refuse wrong feeds before the runtime sees them."""
    with loaded(backend, device, PAIR) as session:
        right = PAIR.feeds()
        wrong = {
            "a missing input": {"a": right["a"]},
            "an unknown input": {**right, "c": right["a"]},
            "another dtype": {**right, "a": right["a"].astype(np.float64)},
            "another rank": {**right, "a": right["a"][0]},
            "another length": {**right, "a": right["a"][:, :2]},
        }
        for what, feeds in wrong.items():
            with refused(what, InputError):
                run(session, feeds)
        check_answer(session, device, PAIR, "after refusals")


def feeds_are_left_alone(backend: Backend, device: str) -> None:
    """A run changes neither its feeds nor the mapping, and reads arrays that cannot be written."""
    with loaded(backend, device, IDENTITY) as session:
        feeds = IDENTITY.feeds()
        run(session, feeds)
        compare(feeds, IDENTITY.feeds(), device, "the feed itself, after the run")
        feeds["given"].flags.writeable = False
        compare(run(session, feeds), IDENTITY.answer(feeds), device, "read-only feed")


def every_run_reads_its_feeds_anew(backend: Backend, device: str) -> None:
    """A buffer that changed, and another buffer, give new answers."""
    with loaded(backend, device, PAIR) as session:
        feeds = PAIR.feeds()
        for number in range(4):
            feeds["a"][:] = number
            compare(run(session, feeds), PAIR.answer(feeds), device, "the same buffer, changed")
        for scale in (3, -5, 7):
            check_answer(session, device, PAIR, "another buffer", scale=scale)


def outputs_are_not_the_feeds(backend: Backend, device: str) -> None:
    """Overwriting a fed buffer after the run leaves the outputs as they are."""
    for model in (IDENTITY, FOURS, PAIR):
        with loaded(backend, device, model) as session:
            feeds = model.feeds(batch=4)
            expected = {name: array.copy() for name, array in model.answer(feeds).items()}
            outputs = run(session, feeds)
            for array in feeds.values():
                array[:] = 0
            compare(outputs, expected, device, f"{model.file}, feed overwritten")


def copies_of_outputs_survive(backend: Backend, device: str) -> None:
    """Outputs are valid until the next run, and a copy of them for good."""
    with loaded(backend, device, CONVOLUTION) as session:
        feeds = CONVOLUTION.feeds(scale=1)
        kept = {name: array.copy() for name, array in run(session, feeds).items()}
        check_answer(session, device, CONVOLUTION, "second run", scale=9)
        compare(kept, CONVOLUTION.answer(feeds), device, "a copy of the first run")


def failed_run_is_an_inference_error(backend: Backend, device: str) -> None:
    """What fails inside the graph is an InferenceError, and the session goes on."""
    with loaded(backend, device, FOURS) as session:
        check_answer(session, device, FOURS, "before", batch=8)
        with refused("six values in rows of four", InferenceError):
            run(session, FOURS.feeds(batch=6))
        check_answer(session, device, FOURS, "after a failed run", batch=4)


def closed_session_is_refused(backend: Backend, device: str) -> None:
    """`run` after `close` is an InferenceError, `close` after `close` nothing."""
    with loaded(backend, device, PAIR) as other:
        session = backend.load(PAIR.path, device=device, options={})
        check_answer(session, device, PAIR, "before close")
        session.close()
        session.close()
        with refused("a closed session", InferenceError):
            session.run(PAIR.feeds())
        check_answer(other, device, PAIR, "beside a closed session")


def sessions_do_not_disturb_each_other(backend: Backend, device: str) -> None:
    """Two models, run in turn, keep their answers apart; so do two sessions of one model."""
    with (
        loaded(backend, device, PAIR) as pair,
        loaded(backend, device, PAIR) as twin,
        loaded(backend, device, CONVOLUTION) as convolution,
    ):
        feeds = PAIR.feeds()
        outputs = run(pair, feeds)
        check_answer(twin, device, PAIR, "twin", scale=-3)
        check_answer(convolution, device, CONVOLUTION, "in turn")
        compare(outputs, PAIR.answer(feeds), device, "outputs, after another session ran")


def sessions_run_on_several_threads(backend: Backend, device: str) -> None:
    """Sessions of several threads run at once, and any thread may use a session."""

    def work(scale: int) -> None:
        with loaded(backend, device, PAIR) as own:
            for number in range(30):
                check_answer(own, device, PAIR, "on a thread", batch=1 + number % 3, scale=scale)

    with loaded(backend, device, CONVOLUTION) as session, ThreadPoolExecutor(4) as threads:
        check_answer(session, device, CONVOLUTION, "on the thread it was loaded on")
        jobs = [threads.submit(work, scale) for scale in (2, 30, 400, 5000)]
        when = "on another thread than it was loaded on"
        jobs.append(threads.submit(check_answer, session, device, CONVOLUTION, when))
        for job in jobs:
            job.result()


def unknown_device_is_refused(backend: Backend, device: str) -> None:
    """A device that is not there is a DeviceError that lists those that are."""
    for name in ("no-such-device", f"{device}:99", ""):
        with refused(f"device {name!r}", DeviceError) as caught:
            backend.load(PAIR.path, device=name, options={})
        for known in backend.devices():
            require(repr(known) in str(caught[0]), f"{str(caught[0])!r} does not list {known!r}")


def unknown_option_is_refused(backend: Backend, device: str) -> None:
    """An option the backend does not know is an InputError that names it."""
    with refused("option 'no_such_option'", InputError) as caught:
        backend.load(PAIR.path, device=device, options={"no_such_option": 1})
    require("no_such_option" in str(caught[0]), f"{str(caught[0])!r} does not name the option")


def threads_option_is_checked(backend: Backend, device: str) -> None:
    """`threads` is a whole number from 1 up, or None; anything else is an InputError."""
    for threads in (0, -1, 1.5, "two", True):
        with refused(f"threads={threads!r}", InputError):
            backend.load(PAIR.path, device=device, options={"threads": threads})
    with loaded(backend, device, PAIR, threads=None) as session:
        check_answer(session, device, PAIR, "threads=None")


def threads_do_not_change_answers(backend: Backend, device: str) -> None:
    """One thread and two compute the same numbers."""
    for threads in (1, 2):
        with loaded(backend, device, CONVOLUTION, threads=threads) as session:
            check_answer(session, device, CONVOLUTION, f"threads={threads}")


def tuning_options_do_not_change_answers(backend: Backend, device: str) -> None:
    """Where there is `tuning_options()`, its first way is the default, and all compute the same."""
    if not isinstance(backend, TunableBackend):
        return
    tuning = backend.tuning_options()
    ways = [dict(way) for way in tuning.spinning.values()]
    require(ways[:1] == [{}], f"the first way to wait is {ways[:1]}, not the one without options")
    if tuning.has_streams:
        ways.append({"streams": 2})
    for way in ways:
        with loaded(backend, device, CONVOLUTION, threads=2, **way) as session:
            check_answer(session, device, CONVOLUTION, f"options {way}")


def unreadable_models_are_refused(backend: Backend, device: str) -> None:
    """A missing, empty, cut or foreign file, or a folder, is a LoadError or a ModelError."""
    whole = CONVOLUTION.path.read_bytes()
    contents = {"empty": b"", "cut": whole[: len(whole) // 2], "foreign": b"no model at all\n" * 9}
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder), Path(folder, "missing.onnx")]
        for name, content in contents.items():
            path = Path(folder, f"{name}.onnx")
            path.write_bytes(content)
            paths.append(path)
        for path in paths:
            with refused(f"the model {path.name!r}", LoadError, ModelError):
                backend.load(path, device=device, options={})


def unsupported_operator_is_refused(backend: Backend, device: str) -> None:
    """A graph with an operator that no runtime knows is a LoadError."""
    with refused("an unknown operator", LoadError):
        backend.load(UNSUPPORTED, device=device, options={})


def any_path_is_loaded(backend: Backend, device: str) -> None:
    """Spaces and letters beyond ASCII in a path do no harm."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copy(PAIR.path, Path(folder, "modèle n° 1.onnx")))
        with closing(backend.load(path, device=device, options={})) as session:
            check_answer(session, device, PAIR, "from a path with spaces and accents")


def memory_stays_flat(backend: Backend, device: str) -> None:
    """A thousand runs hold no more memory than a few; checked where /proc tells."""
    feeds = PAIR.feeds(batch=1000)
    with loaded(backend, device, PAIR) as session:
        for _ in range(LEAK_RUNS // 10):
            run(session, feeds)
        before = resident_mib() or 0
        for _ in range(LEAK_RUNS):
            run(session, feeds)
        grown = (resident_mib() or 0) - before
    require(grown < LEAK_MIB, f"{LEAK_RUNS} runs kept {grown:.1f} MiB")


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        check.__name__: check
        for check in (
            backend_follows_the_protocol,
            devices_are_distinct_names,
            tensors_are_described_as_in_the_file,
            answers_are_right,
            half_precision_is_right_or_refused,
            batch_may_grow_and_shrink,
            wrong_feeds_are_refused,
            feeds_are_left_alone,
            every_run_reads_its_feeds_anew,
            outputs_are_not_the_feeds,
            copies_of_outputs_survive,
            failed_run_is_an_inference_error,
            closed_session_is_refused,
            sessions_do_not_disturb_each_other,
            sessions_run_on_several_threads,
            unknown_device_is_refused,
            unknown_option_is_refused,
            threads_option_is_checked,
            threads_do_not_change_answers,
            tuning_options_do_not_change_answers,
            unreadable_models_are_refused,
            unsupported_operator_is_refused,
            any_path_is_loaded,
            memory_stays_flat,
            *ASYNC_CHECKS,
        )
    }
)
"""Every rule by name, for pytest.mark.parametrize; a check takes a backend and a device."""
