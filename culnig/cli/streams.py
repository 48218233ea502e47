"""Standard output and error that never end a command with a traceback.

Text that the terminal's encoding lacks is written in ASCII. A reader that closes the pipe, as `head` does,
silences the output, and the command goes on to its end and its own exit code. Output that cannot be written,
because the disk is full for example, ends the command with a sentence. On standard error it is ignored: no
message is worth the work that it reports.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any, TextIO, cast

from culnig.core.text import fallback, visible
from culnig.errors import EnvironmentProblem


class _Stream:
    """A text stream as rich and click use it, without the binary stream below, which click would take."""

    def __init__(self, stream: TextIO, *, must_write: bool) -> None:
        self._stream = stream
        self._must_write = must_write
        self._silent = False
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self.errors = getattr(stream, "errors", None)

    def write(self, text: str) -> int:
        """Write what can be written; EnvironmentProblem where nothing can."""
        if not isinstance(text, str):
            raise TypeError("text is written here, not bytes")  # click finds out with b"" what a stream takes
        if text and not self._silent:
            plain = fallback(text, self.encoding)
            with self._noticed():
                self._stream.write(plain)
        return len(text)

    def flush(self) -> None:
        """Hand everything to the system; EnvironmentProblem if that fails."""
        if not self._silent:
            with self._noticed():
                self._stream.flush()

    @contextlib.contextmanager
    def _noticed(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            self._silent = isinstance(error, BrokenPipeError) or not self._must_write
            if not self._silent:
                reason = getattr(error, "strerror", None) or error
                raise EnvironmentProblem(
                    f"cannot write to standard output: {reason}; files that were written are kept"
                ) from None

    def __getattr__(self, name: str) -> Any:
        if name in ("buffer", "reconfigure"):
            raise AttributeError(name)
        return getattr(self._stream, name)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Replace both standard streams; a stream that is closed stays None."""
    streams, plain = (sys.stdout, sys.stderr), warnings.formatwarning

    def shown_warning(*arguments: Any, **named: Any) -> str:
        return visible(plain(*arguments, **named), lines=True)

    warnings.formatwarning = shown_warning
    if sys.stdout is not None:
        sys.stdout = cast(TextIO, _Stream(sys.stdout, must_write=True))
    if sys.stderr is not None:
        sys.stderr = cast(TextIO, _Stream(sys.stderr, must_write=False))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        warnings.formatwarning = plain


def hold_standard_streams() -> None:
    """Open the null device in place of closed streams, so that no file of a run gets their numbers.

    What a C library then prints on standard error would end up in that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def drop_unwritten_output() -> None:
    """Send what is still buffered to the null device, or Python would report the failure at its exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
