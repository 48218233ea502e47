from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culnig.scoring.portions import (
    MOST_IN_TURNS,
    MOST_PORTIONS,
    Piece,
    batches_in_turns,
    split_batches,
    stretches,
)


@given(st.integers(0, 5_000))
def test_portions_hold_every_batch_once_in_order_and_as_equally_as_may_be(n_batches):
    portions = split_batches(n_batches)
    assert [number for portion in portions for number in portion] == list(range(n_batches))
    sizes = [len(portion) for portion in portions]
    assert max(sizes) - min(sizes) <= 1
    assert 1 <= len(portions) <= MOST_PORTIONS
    assert len(portions) == 1 or min(sizes) >= 8


def test_no_batches_are_one_empty_portion():
    assert split_batches(0) == [range(0)]


def test_the_numbers_are_part_of_the_format_of_unfinished_runs():
    assert split_batches(15) == [range(15)]
    assert split_batches(17) == [range(8), range(8, 17)]
    assert [len(portion) for portion in split_batches(100)] == [8, 8, 9] * 4


def test_a_portion_on_a_border_is_handed_over_from_the_first_work_of_one_process_to_the_last_of_the_next():
    assert stretches([4, 4, 4], [0, 0, 0], 2) == [
        [Piece(1, 0, 2), Piece(0, 0, 4)],
        [Piece(2, 0, 4), Piece(1, 2, 4)],
    ]
    assert stretches([4, 4], [3, 0], 1) == [[Piece(0, 3, 4), Piece(1, 0, 4)]]
    assert stretches([4], [4], 2) == [[], []]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12), st.integers(1, 9))
def test_stretches_hold_every_batch_that_is_left_once_and_are_of_nearly_equal_size(portions, of):
    lengths, done = [a + b for a, b in portions], [a for a, _ in portions]
    pieces = stretches(lengths, done, of)
    batches = [(own.portion, batch) for each in pieces for own in each for batch in range(own.begin, own.end)]
    left = [(portion, batch) for portion, n in enumerate(lengths) for batch in range(done[portion], n)]
    assert sorted(batches) == left
    sizes = [sum(own.end - own.begin for own in each) for each in pieces]
    assert max(sizes) - min(sizes) <= 1


def turns_of(lengths: list[int], of: int) -> int:
    """Turns until all processes are done, where a piece waits for the batches of its portion before it."""
    pieces, done, turns = stretches(lengths, [0] * len(lengths), of), [0] * len(lengths), 0
    while any(pieces):
        turns += 1
        before = list(done)
        for own in pieces:
            if own and own[0].begin <= before[own[0].portion]:
                done[own[0].portion] += 1
                own[0] = own[0]._replace(begin=own[0].begin + 1)
                if own[0].begin == own[0].end:
                    own.pop(0)
    assert done == lengths
    return turns


@pytest.mark.parametrize("n_batches", [(640, 0), (700, 213), (5_000, 1_200), (64, 640)])
def test_up_to_64_processes_are_busy_nine_tenths_of_the_time(n_batches):
    total = sum(n_batches)
    longest = batches_in_turns(total)
    lengths = [len(own) for n in n_batches if n for own in split_batches(n, longest=longest)]
    for of in range(1, MOST_IN_TURNS + 1):
        turns = turns_of(lengths, of)
        assert turns <= math.ceil(total / of) + 1
        assert total / of / turns >= 0.9, of
