"""How a rule of the conformance kit loads, runs, compares and complains."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

import numpy as np

from edgevit.backend import AnyArray, Backend, Session, check_feeds
from edgevit.testing.models import Arrays, Model

# Largest error over largest value. Accelerators may compute with 16 bits, processors may not.
CPU_TOLERANCE, TOLERANCE = 1e-4, 1e-2


class ConformanceError(AssertionError):
    """A backend breaks a rule of `edgevit.backend`."""


def require(condition: bool, message: str) -> None:
    """Complain with `message` unless `condition` holds."""
    if not condition:
        raise ConformanceError(message)


@contextmanager
def refused(what: str, *errors: type[Exception]) -> Iterator[list[Exception]]:
    """Expect one of `errors`; the list receives it."""
    names = " or ".join(error.__name__ for error in errors)
    caught: list[Exception] = []
    try:
        yield caught
    except errors as exc:
        caught.append(exc)
    except Exception as exc:  # a vendor's error that escaped
        raise ConformanceError(
            f"{what} must raise {names}, not {type(exc).__name__}: {exc}"
        ) from exc
    require(bool(caught), f"{what} must raise {names}, but nothing was raised")


@contextmanager
def loaded(backend: Backend, device: str, model: Model, **options: object) -> Iterator[Session]:
    """Load one of the kit's models for a `with` block."""
    with closing(backend.load(model.path, device=device, options=options)) as session:
        yield session


def run(session: Session, feeds: Arrays) -> Mapping[str, AnyArray]:
    """Run as edgevit does: feeds are checked first."""
    return session.run(check_feeds(session.inputs, feeds))


def compare(outputs: Mapping[str, AnyArray], expected: Arrays, device: str, when: str) -> None:
    """Complain unless outputs have the expected names, dtypes, shapes and, nearly, values."""
    require(set(outputs) == set(expected), f"{when}: outputs {set(outputs)}, not {set(expected)}")
    limit = CPU_TOLERANCE if device.lower() == "cpu" else TOLERANCE
    for name, want in expected.items():
        got = outputs[name]
        require(isinstance(got, np.ndarray), f"{when}: output {name!r} is a {type(got).__name__}")
        require(
            got.shape == want.shape and got.dtype == want.dtype,
            f"{when}: output {name!r} is {got.dtype} {got.shape}, not {want.dtype} {want.shape}",
        )
        error = np.max(np.abs(got.astype(float) - want.astype(float)), initial=0)
        scale = np.max(np.abs(want.astype(float)), initial=1)
        require(bool(error <= limit * scale), f"{when}: output {name!r} is off by {error}")


def check_answer(
    session: Session, device: str, model: Model, when: str, *, batch: int = 2, scale: float = 100
) -> None:
    """Run a model of the kit and compare with what NumPy answers."""
    feeds = model.feeds(batch, scale)
    compare(run(session, feeds), model.answer(feeds), device, f"{model.file}, {when}")
