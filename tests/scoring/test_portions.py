from __future__ import annotations

import math
from itertools import pairwise

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
        [Piece(2, 0, 4), Piece(1, 2, 4, is_rest=True)],
    ]
    assert stretches([4, 4], [3, 0], 1) == [[Piece(0, 3, 4), Piece(1, 0, 4)]]
    assert stretches([4], [4], 2) == [[], []]


def test_a_portion_longer_than_an_equal_share_is_divided_between_two_processes_at_most():
    assert stretches([5, 1], [0, 0], 3) == [[Piece(0, 0, 5)], [Piece(1, 0, 1)], []]
    assert stretches([2, 3, 3], [0, 0, 0], 3) == [
        [Piece(1, 0, 1), Piece(0, 0, 2)],
        [Piece(2, 0, 1), Piece(1, 1, 3, is_rest=True)],
        [Piece(2, 1, 3, is_rest=True)],
    ]


PORTIONS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12)
"""Batches that are left, and that are done."""


@given(PORTIONS, st.integers(1, 9))
def test_stretches_hold_every_batch_that_is_left_once_and_none_is_longer_than_must_be(portions, of):
    lengths, done = [a + b for a, b in portions], [b for _, b in portions]
    pieces = stretches(lengths, done, of)
    batches = [(own.portion, batch) for each in pieces for own in each for batch in range(own.begin, own.end)]
    left = [(portion, batch) for portion, n in enumerate(lengths) for batch in range(done[portion], n)]
    assert sorted(batches) == left
    sizes = [sum(own.end - own.begin for own in each) for each in pieces]
    total, longest = len(left), max(a for a, _ in portions)
    if longest <= total // of:
        assert max(sizes) - min(sizes) <= 1
    assert max(sizes) == max(longest, math.ceil(total / of))


@given(PORTIONS, st.integers(1, 9))
def test_nobody_waits_longer_than_the_longest_stretch_takes(portions, of):
    """Each portion's batches are scored in order, by the process before and then by the one after it."""
    lengths, done = [a + b for a, b in portions], [b for _, b in portions]
    pieces = stretches(lengths, done, of)
    assert turns_of(lengths, of, done) == max(sum(own.end - own.begin for own in each) for each in pieces)
    for before, own_pieces in pairwise([[], *pieces]):
        for own in own_pieces:
            assert own.is_rest == (own.begin > done[own.portion])
            first = Piece(own.portion, done[own.portion], own.begin)
            assert not own.is_rest or first in before


def turns_of(lengths: list[int], of: int, begun: list[int]) -> int:
    """Turns until all processes are done, where a piece waits for the batches of its portion before it."""
    done, pieces, turns = list(begun), stretches(lengths, begun, of), 0
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
        turns = turns_of(lengths, of, [0] * len(lengths))
        assert turns == math.ceil(total / of)
        assert total / of / turns >= 0.9, of
