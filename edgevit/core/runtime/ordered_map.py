"""Apply a function to a stream with threads that work ahead, answers in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from edgevit.core.runtime.options import check_count
from edgevit.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


class OrderedMap(Iterator[Result], Generic[Item, Result]):
    """Iterator over `function(item)` for each item, in order.

    At most `2 * workers` items are taken ahead of the answer that is due, so memory stays bounded
    on an endless stream. An item that fails raises at its own place; the next call of `next` goes
    on with the item after it.
    """

    def __init__(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, workers: int
    ) -> None:
        """Start the threads.

        Args:
            function: called from several threads at once.
            items: read in the caller's thread, only as far ahead as needed.
            workers: number of threads, from 1 up.

        Raises:
            InputError: if `workers` is not a whole number from 1 up, or `items` cannot be iterated.
        """
        check_count("workers", workers)
        if isinstance(items, str | bytes) or not isinstance(items, Iterable):
            raise InputError(
                f"map takes an iterable of images, not a {type(items).__name__}; "
                "for one image call the predictor itself"
            )
        self._function = function
        self._items = iter(items)
        self._ahead = 2 * workers
        self._due: deque[Future[Result]] = deque()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="edgevit-map")

    def __next__(self) -> Result:
        self._submit()
        if not self._due:
            self.close()
            raise StopIteration
        return self._due.popleft().result()

    def close(self) -> None:
        """Drop the work ahead and end the threads; closing twice is allowed."""
        self._items = iter(())
        self._due.clear()
        # Calls that run cannot be stopped, and nobody waits for what they answer.
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __del__(self) -> None:
        if hasattr(self, "_pool"):
            self.close()

    def _submit(self) -> None:
        while len(self._due) < self._ahead:
            try:
                item = next(self._items)
            except StopIteration:
                return
            self._due.append(self._pool.submit(self._function, item))
