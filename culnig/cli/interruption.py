"""Make sure that Ctrl-C is never lost.

Python raises KeyboardInterrupt at whatever line it runs, and drops it in the callback of a weak reference or
in a finaliser. Under HDF5, while it writes, the exception leaves a hole in the file. So the signal is
recorded, and the progress callback checks for it between the steps of long work; inside the store it is only
recorded.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import culnig.store

_STORE = str(Path(culnig.store.__file__).parent)
_came = threading.Event()


@contextlib.contextmanager
def noticed() -> Iterator[None]:
    """Record every interruption, in addition to raising it. Changes nothing outside the main thread."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    report = sys.unraisablehook

    def report_other_exceptions(dropped: Any) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            report(dropped)

    _came.clear()
    sys.unraisablehook = report_other_exceptions
    signal.signal(signal.SIGINT, _note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook = report
        _came.clear()


def check() -> None:
    """Raise KeyboardInterrupt if an interruption has not been raised yet, or was lost."""
    if _came.is_set():
        _came.clear()
        raise KeyboardInterrupt


def _note(number: int, frame: FrameType | None) -> None:
    _came.set()
    while frame is not None:
        if frame.f_code.co_filename.startswith(_STORE):
            return
        frame = frame.f_back
    raise KeyboardInterrupt
