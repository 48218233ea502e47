"""Work that may never end is stopped."""

from __future__ import annotations

import contextlib
import itertools
import signal
import threading
import time
from functools import partial
from operator import mul

import pytest

from culnig.core.bounded import bounded


def test_a_result_or_an_error_is_passed_on():
    assert bounded(lambda: 3, 5) == 3
    with pytest.raises(KeyError, match="lost"):
        bounded(lambda: {}["lost"], 5)


def test_a_loop_that_catches_errors_is_stopped():
    stopped = threading.Event()

    def loop():
        try:
            for _ in itertools.count():
                with contextlib.suppress(Exception):
                    int("")
        finally:
            stopped.set()

    with pytest.raises(TimeoutError, match=r"after 0\.2 seconds"):
        bounded(loop, 0.2)
    assert stopped.wait(5)


def test_work_in_several_threads_at_once_is_kept_apart():
    results = {}

    def work(number):
        results[number] = [bounded(partial(mul, number, step), 5) for step in range(50)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == {number: [number * step for step in range(50)] for number in range(4)}


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also where the tests were started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_stops_the_work():
    """Ctrl-C while the caller waits must not leave a loop behind."""
    stopped = threading.Event()

    def loop():
        try:
            time.sleep(0.2)  # until the caller waits
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            while True:
                pass
        finally:
            stopped.set()

    with pytest.raises(KeyboardInterrupt):
        bounded(loop, 5)
    assert stopped.wait(5)


def test_a_thread_serves_again_once_it_is_done():
    assert bounded(threading.get_ident, 5) == bounded(threading.get_ident, 5) != threading.get_ident()
