from __future__ import annotations

import gc
import threading
import time
import weakref

import numpy as np
import pytest

from culnig.store.background import BackgroundWriter


@pytest.fixture
def background():
    made = BackgroundWriter(limit=100)
    yield made
    made.close()


def in_a_thread(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_jobs_are_done_in_order_and_not_in_the_thread_that_gave_them(background):
    done, threads = [], set()
    for number in range(50):
        background.submit(lambda number=number: (done.append(number), threads.add(threading.get_ident())), 10)
    background.drain()
    assert done == list(range(50))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_draining_nothing_returns(background):
    background.drain()


def test_submit_waits_while_too_many_bytes_are_pending(background):
    go, given = threading.Event(), []
    background.submit(go.wait, 60)

    def give():
        for number in range(2):
            background.submit(lambda: None, 40)
            given.append(number)

    thread = in_a_thread(give)
    time.sleep(0.05)
    assert given == [0], "60 + 40 bytes are allowed, 140 are not"
    go.set()
    thread.join(5)
    assert given == [0, 1]


def test_a_job_larger_than_the_limit_goes_alone(background):
    done = []
    background.submit(lambda: done.append("small"), 10)
    background.submit(lambda: done.append("large"), 1_000)
    background.submit(lambda: done.append("small"), 10)
    background.drain()
    assert done == ["small", "large", "small"]


def fail():
    raise OSError("the disk is gone")


def submit_until_it_fails(background):
    for _ in range(1_000):
        background.submit(lambda: None)
        time.sleep(0.001)


@pytest.mark.parametrize("ask", [submit_until_it_fails, BackgroundWriter.drain])
def test_an_error_is_raised_to_the_submitter(background, ask):
    background.submit(fail)
    with pytest.raises(OSError, match="the disk is gone"):
        ask(background)


def test_after_an_error_nothing_is_written_any_more(background):
    done = []
    go = threading.Event()
    background.submit(go.wait)
    background.submit(fail)
    background.submit(lambda: done.append("later"))
    go.set()
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            background.drain()
    assert done == []


def test_an_error_wakes_a_waiting_submit(background):
    go, caught = threading.Event(), []
    background.submit(lambda: (go.wait(), fail()), 100)

    def give():
        try:
            background.submit(lambda: None, 100)
        except OSError as error:
            caught.append(str(error))

    thread = in_a_thread(give)
    go.set()
    thread.join(5)
    assert caught == ["the disk is gone"]


def test_closing_finishes_the_job_under_way_and_drops_the_others():
    background, done = BackgroundWriter(), []
    began, go = threading.Event(), threading.Event()
    background.submit(lambda: (began.set(), go.wait(), done.append("first")))
    background.submit(lambda: done.append("second"))
    began.wait(5)
    thread = in_a_thread(background.close)
    time.sleep(0.02)
    assert thread.is_alive(), "a file must not be closed under the feet of the job that writes it"
    go.set()
    thread.join(5)
    assert done == ["first"]


def test_closing_after_an_error_returns():
    background = BackgroundWriter()
    background.submit(fail)
    background.close()


def test_what_a_job_held_is_freed_when_it_is_done(background):
    array = np.zeros(10)
    alive = weakref.ref(array)
    background.submit(lambda array=array: None, array.nbytes)
    del array
    background.drain()
    gc.collect()
    assert alive() is None
