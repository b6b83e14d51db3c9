"""The rules that sessions with a queue keep besides; other sessions pass them unasked."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps

from edgevit.backend import AsyncSession, Backend, RunHandle, check_feeds
from edgevit.errors import InferenceError
from edgevit.testing.expect import check_answer, compare, loaded, refused, require
from edgevit.testing.models import CONVOLUTION, EXACT_MODELS, FOURS, IDENTITY, PAIR, Arrays, Model

Check = Callable[[Backend, str], None]
QueueCheck = Callable[[AsyncSession, str, Model], None]

ROUNDS = 20


def of_queues(*models: Model) -> Callable[[QueueCheck], Check]:
    """Make a rule of backends from one of their sessions, loaded with each of `models`."""

    def decorate(rule: QueueCheck) -> Check:
        @wraps(rule)
        def check(backend: Backend, device: str) -> None:
            for model in models:
                with loaded(backend, device, model) as session:
                    if isinstance(session, AsyncSession):
                        rule(session, device, model)

        return check

    return decorate


@of_queues(*EXACT_MODELS)
def submitted_runs_answer_as_run_does(session: AsyncSession, device: str, model: Model) -> None:
    """As many runs as may be in flight keep their answers apart, taken in any order."""
    for order in (1, -1):
        feeds = _feeds(model, session.max_in_flight)
        pairs = [(submit(session, given), given) for given in feeds][::order]
        taken = [(handle.result(), given) for handle, given in pairs]
        for outputs, given in taken:
            compare(outputs, model.answer(given), device, f"{model.file}, submitted")


@of_queues(PAIR)
def max_in_flight_is_a_number(session: AsyncSession, device: str, model: Model) -> None:
    """`max_in_flight` is a whole number from 1 up, and stays what it is."""
    limit = session.max_in_flight
    require(isinstance(limit, int) and limit >= 1, f"max_in_flight is {limit!r}")
    submit(session, model.feeds()).result()
    require(session.max_in_flight == limit, "max_in_flight changes")


@of_queues(IDENTITY)
def feeds_are_free_after_result(session: AsyncSession, device: str, model: Model) -> None:
    """Outputs stay when the feeds are overwritten after `result`; read-only feeds are taken."""
    for is_writeable in (True, False):
        feeds = model.feeds()
        expected = {"same": feeds["given"].copy()}
        feeds["given"].flags.writeable = is_writeable
        outputs = submit(session, feeds).result()
        feeds["given"].flags.writeable = True
        feeds["given"][:] = 0
        compare(outputs, expected, device, "feed overwritten after result")


@of_queues(PAIR)
def run_counts_as_submitted(session: AsyncSession, device: str, model: Model) -> None:
    """A `run` between submitted ones disturbs none that is still in flight."""
    feeds = _feeds(model, session.max_in_flight - 1)
    handles = [submit(session, given) for given in feeds]
    check_answer(session, device, model, "beside submitted runs", scale=7)
    for handle, given in zip(handles, feeds, strict=True):
        compare(handle.result(), model.answer(given), device, "beside a run")


@of_queues(PAIR)
def outputs_that_are_given_up_are_refused(session: AsyncSession, device: str, model: Model) -> None:
    """`result` past `max_in_flight` later runs is an InferenceError, not a later run's outputs."""
    feeds = _feeds(model, session.max_in_flight + 1)
    first, *others = [submit(session, given) for given in feeds]
    with refused("the outputs that are given up", InferenceError):
        first.result()
    for handle, given in zip(others, feeds[1:], strict=True):
        compare(handle.result(), model.answer(given), device, "beside one given up")


@of_queues(FOURS)
def failed_submitted_run_is_an_inference_error(
    session: AsyncSession, device: str, model: Model
) -> None:
    """What fails inside the graph is one run's InferenceError; its neighbors are answered."""
    feeds = _feeds(model, session.max_in_flight)
    handles = [submit(session, given) for given in feeds[:-1]]
    is_counted = False
    with refused("six values in rows of four", InferenceError):
        failing = submit(session, model.feeds(batch=6))
        is_counted = True
        failing.result()
    if not is_counted:
        handles.append(submit(session, feeds[-1]))
    for handle, given in zip(handles, feeds, strict=False):
        compare(handle.result(), model.answer(given), device, "beside a failed run")
    check_answer(session, device, model, "after a failed run", batch=8)


@of_queues(CONVOLUTION)
def closed_session_refuses_submitted_runs(session: AsyncSession, device: str, model: Model) -> None:
    """After `close`, also with runs in flight, `submit` and `result` are InferenceErrors."""
    handle = submit(session, model.feeds())
    session.close()
    with refused("a run of a closed session", InferenceError):
        handle.result()
    with refused("a closed session", InferenceError):
        session.submit(model.feeds())


@of_queues(PAIR)
def results_are_taken_on_any_thread(session: AsyncSession, device: str, model: Model) -> None:
    """Other threads wait for results while one submits."""

    def take(handle: RunHandle, given: Arrays) -> None:
        compare(handle.result(), model.answer(given), device, "taken on another thread")

    take(submit(session, model.feeds()), model.feeds())
    with ThreadPoolExecutor(4) as threads:
        for _ in range(ROUNDS):
            feeds = _feeds(model, session.max_in_flight)
            jobs = [threads.submit(take, submit(session, given), given) for given in feeds]
            for job in jobs:
                job.result()


def submit(session: AsyncSession, feeds: Arrays) -> RunHandle:
    """Submit as edgevit does: feeds are checked first."""
    return session.submit(check_feeds(session.inputs, feeds))


def _feeds(model: Model, count: int) -> list[Arrays]:
    return [model.feeds(4, 1.0 + 10 * number) for number in range(count)]


ASYNC_CHECKS: tuple[Check, ...] = (
    submitted_runs_answer_as_run_does,
    max_in_flight_is_a_number,
    feeds_are_free_after_result,
    run_counts_as_submitted,
    outputs_that_are_given_up_are_refused,
    failed_submitted_run_is_an_inference_error,
    closed_session_refuses_submitted_runs,
    results_are_taken_on_any_thread,
)
