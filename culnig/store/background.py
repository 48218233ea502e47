"""Writing in the background: one thread that runs its jobs in the order in which they were submitted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

DEFAULT_LIMIT = 256 << 20


class BackgroundWriter:
    """Runs jobs in a thread; `submit` waits while more than `limit` bytes are pending.

    The next `submit` or `drain` raises the error of a job, and the jobs after it are dropped.
    """

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self._thread = ThreadPoolExecutor(1, "culnig-writer")
        self._pending: deque[tuple[Future[None], int]] = deque()
        self._error: BaseException | None = None

    def submit(self, job: Callable[[], None], n_bytes: int = 0) -> None:
        """Queue a job that holds `n_bytes`; a job above the limit waits for all others."""
        self._wait(max(0, self._limit - n_bytes))
        self._pending.append((self._thread.submit(self._run, job), n_bytes))

    @property
    def idle(self) -> bool:
        """Whether no job is pending."""
        return all(future.done() for future, _ in self._pending)

    def drain(self) -> None:
        """Wait until all jobs are done."""
        self._wait(-1)

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        """Wait until all jobs are done, after an error too: they are work that was finished."""
        try:
            self.drain()
        finally:
            self.close()

    def close(self) -> None:
        """Stop after the present job; the others are dropped."""
        self._thread.shutdown(cancel_futures=True)

    def _wait(self, limit: int) -> None:
        """Until at most `limit` bytes are pending; -1: until no job is."""
        while self._pending and (
            self._pending[0][0].done() or sum(n_bytes for _, n_bytes in self._pending) > limit
        ):
            self._pending.popleft()[0].result()
        if self._error is not None:
            raise self._error

    def _run(self, job: Callable[[], None]) -> None:
        if self._error is None:
            try:
                job()
            except BaseException as error:
                self._error = error
