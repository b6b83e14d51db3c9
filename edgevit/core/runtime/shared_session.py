"""One session, used by several threads."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from threading import Lock

from edgevit.core.runtime.protocols import AnyArray, AsyncSession, Session


class SharedSession:
    """Serves threads in turn: one at a time, or as many as an AsyncSession has runs in flight.

    A thread has its outputs for itself for as long as it reads them. A closed session refuses runs
    by itself.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._queue = session if isinstance(session, AsyncSession) else None
        self.max_in_flight = 1 if self._queue is None else self._queue.max_in_flight
        self._turn = Lock()
        # One for each run in flight, held until its outputs are read. Runs take them in turn, as
        # the session takes its buffers.
        self._places = [Lock() for _ in range(self.max_in_flight)]
        self._submitted = 0

    @contextmanager
    def outputs(self, feeds: Mapping[str, AnyArray]) -> Iterator[Mapping[str, AnyArray]]:
        """Run the graph, and lend its outputs for a `with` block.

        Args:
            feeds: checked arrays by input name; they must not be written to meanwhile.

        Raises:
            InferenceError: if the runtime fails or the session is closed.
        """
        if self._queue is None or self.max_in_flight == 1:
            with self._turn:
                yield self._session.run(feeds)
            return
        with ExitStack() as place:
            with self._turn:
                place.enter_context(self._places[self._submitted % self.max_in_flight])
                handle = self._queue.submit(feeds)
                self._submitted += 1
            yield handle.result()

    def close(self) -> None:
        """Close the session when all outputs are read; closing twice is allowed."""
        with self._turn, ExitStack() as places:
            for place in self._places:
                places.enter_context(place)
            self._session.close()
