"""Run untrusted work for a limited time, on any thread and any system."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

Result = TypeVar("Result")

_LAST_WAIT = 1.0
"""Seconds that a stopped computation has to end."""


class _Stopped(BaseException):
    """Ends the thread of a computation; no `except Exception` catches it."""


class _Worker:
    """A thread that computes one thing after the other: starting a thread costs more than a short work."""

    def __init__(self) -> None:
        self.tasks: SimpleQueue[Callable[[], Any]] = SimpleQueue()
        self.results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="culnig-bounded", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with contextlib.suppress(_Stopped):
            while True:
                compute = self.tasks.get()
                try:
                    self.results.put((compute(), None))
                except Exception as error:  # raised again in the thread that asked
                    self.results.put((None, error))
                del compute

    def stop(self) -> None:
        """End the thread."""
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self.thread.ident or 0), ctypes.py_object(_Stopped)
        )
        self.thread.join(_LAST_WAIT)


_idle: list[_Worker] = []


def _worker() -> _Worker:
    while True:
        try:
            worker = _idle.pop()
        except IndexError:
            return _Worker()
        if worker.thread.is_alive():  # not so in a process that was forked
            return worker


def bounded(compute: Callable[[], Result], seconds: float) -> Result:
    """The result of `compute`, or its exception; TimeoutError if it takes longer than `seconds`.

    `compute` runs in another thread, which is sent an exception when its time is over. That stops any loop in
    Python; a single call into C ends first.
    """
    worker = _worker()
    worker.tasks.put(compute)
    try:
        result, error = worker.results.get(timeout=seconds)
    except BaseException as interruption:
        worker.stop()
        if isinstance(interruption, Empty):
            raise TimeoutError(f"stopped after {seconds:g} seconds") from None
        raise
    _idle.append(worker)
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]  # what `compute` returned
