"""Writing beside computing: one thread, one queue with a limit, work done in the order it was given."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

DEFAULT_LIMIT = 256 << 20


class BackgroundWriter:
    """Runs jobs in a thread; `submit` waits while more than `limit` bytes are on their way.

    An error of a job is raised by the next `submit` or `drain`, and the jobs after it are dropped.
    """

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self._jobs: deque[tuple[Callable[[], None], int]] = deque()
        self._bytes = 0
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="culnig-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None], n_bytes: int = 0) -> None:
        """Queue a job that holds `n_bytes`; waits for room."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._bytes == 0 or self._fits(n_bytes))
            self._raise()
            self._jobs.append((job, n_bytes))
            self._bytes += n_bytes
            self._changed.notify_all()

    def drain(self) -> None:
        """Wait until everything is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or not self._jobs)
            self._raise()

    def close(self) -> None:
        """Stop; jobs that wait are dropped."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _fits(self, n_bytes: int) -> bool:
        return self._bytes + n_bytes <= self._limit

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._jobs)
                if self._closing:
                    return
                job, n_bytes = self._jobs[0]
            try:
                job()
            except BaseException as error:
                with self._changed:
                    self._error = error
                    self._jobs.clear()
                    self._changed.notify_all()
                return
            del job  # and what it holds
            with self._changed:
                self._jobs.popleft()
                self._bytes -= n_bytes
                self._changed.notify_all()
