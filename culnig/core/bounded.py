"""Run untrusted work for a limited time, on any thread and any system."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

_LAST_WAIT = 1.0
"""Seconds that a stopped computation has to end."""


class _Stopped(BaseException):
    """Ends the thread of a computation; no `except Exception` catches it."""


def bounded(compute: Callable[[], Result], seconds: float) -> Result:
    """The result of `compute`, or its exception; TimeoutError if it takes longer than `seconds`.

    `compute` runs in a thread of its own, which is then sent an exception. That stops any loop in Python; a
    single call into C ends first.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(compute())
        except BaseException as error:  # raised again below, in the thread that asked
            errors.append(error)

    thread = threading.Thread(target=run, name="culnig-bounded", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Stopped)
        )
        thread.join(_LAST_WAIT)
        raise TimeoutError(f"stopped after {seconds:g} seconds")
    if errors:
        raise errors[0]
    return results[0]
