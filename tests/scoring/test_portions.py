from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from culnig.scoring.portions import MOST_PORTIONS, split_batches


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
