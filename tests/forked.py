"""Work in a child process that may crash, hang or be killed without harm to the tests.

A child is forked from the test process: it starts in milliseconds, with everything imported. It ends without
running exit handlers, and its torch has one thread, since the threads of the parent do not come along.

What a child imports, the next one imports again: where many children do the same work, `import_what` does it
once and imports the same here.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pickle
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any


def begin() -> None:
    """What a forked process does first."""
    import torch

    torch.set_num_threads(1)
    gc.freeze()  # what the parent holds is not gone through again, nor copied for it
    tempfile.tempdir = os.environ["HOME"]  # of the tests: what a killed process leaves there goes with it


class Child:
    """A forked process that runs `work` and hands back what it returns."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._read)
            self._run(work, write)
        os.close(write)
        self._answer = b""
        self.killed_by = 0

    @staticmethod
    def _run(work: Callable[[], Any], write: int) -> None:
        code = 1
        try:
            begin()
            answer = (True, work())
            code = 0
        except BaseException:
            answer = (False, traceback.format_exc())
        try:
            with os.fdopen(write, "wb") as pipe:
                pickle.dump(answer, pipe)
        finally:
            os._exit(code)

    def ended(self) -> bool:
        """Whether it has handed back its answer, or gone without."""
        return bool(select.select([self._read], [], [], 0)[0])

    def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, seconds: float = 60) -> Any:
        """What `work` returned, None where it was killed; AssertionError where it hung, crashed or raised."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                self.kill()
                os.waitpid(self.pid, 0)
                raise AssertionError(f"the child hung for {seconds} s")
            if not (block := os.read(self._read, 1 << 16)):
                break
            self._answer += block
        os.close(self._read)
        _, status = os.waitpid(self.pid, 0)
        self.killed_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if self.killed_by == signal.SIGKILL:
            return None
        assert not self.killed_by, f"the child crashed: {signal.Signals(self.killed_by).name}"
        done, value = pickle.loads(self._answer)
        assert done, value
        return value


def in_child(work: Callable[[], Any], seconds: float = 60) -> Any:
    """What `work` returns, from a process of its own; AssertionError as for `Child.wait`."""
    return Child(work).wait(seconds)


def import_what(work: Callable[[], Any], seconds: float = 60) -> Any:
    """What `work` returned in a child; the modules that it imported there are then imported here."""
    answer, names = in_child(lambda: (work(), list(sys.modules)), seconds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            if name not in sys.modules:
                with contextlib.suppress(ImportError):  # names that no import finds, as of parts of Cython
                    importlib.import_module(name)
    return answer
