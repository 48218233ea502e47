"""Batches keep the budget, lose nothing and are sorted by length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from culnig.errors import InputError
from culnig.inference.batches import make_batches
from culnig.inference.encoding import EncodedItem
from tests.tiny_models import tiny_items


def encoded(lengths):
    item = tiny_items(1)[0]
    return [EncodedItem(item, tuple(range(1, length + 1)), 0, (0,)) for length in lengths]


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 200))
def test_every_item_is_in_one_batch_under_the_budget(lengths, budget):
    batches = make_batches(encoded(lengths), budget)
    assert sorted(number for batch in batches for number in batch.numbers) == list(range(len(lengths)))
    for batch in batches:
        assert batch.token_mask.size <= budget or len(batch.numbers) == 1
    longest = [int(batch.lengths.max()) for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_padding_is_on_the_right_and_not_real():
    (batch,) = make_batches(encoded([2, 4]), 100)
    assert batch.numbers == (1, 0)
    np.testing.assert_array_equal(batch.token_mask, [[True] * 4, [True, True, False, False]])
    assert batch.token_ids().tolist() == [[1, 2, 3, 4], [1, 2, 0, 0]]


def test_a_budget_that_is_not_positive_is_refused():
    with pytest.raises(InputError, match="token budget 0"):
        make_batches(encoded([1]), 0)
