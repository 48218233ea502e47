"""How items are grouped behind prefixes; what is computed behind them is tested with scoring."""

from __future__ import annotations

import pytest

from culnig.inference.batches import Batch, make_batches
from culnig.inference.encoding import Encoder
from culnig.inference.grouping import share_prefixes
from culnig.inference.shared_batches import PASS_OVERHEAD, SharedBatch, total_work
from tests.alike import token_items, variants
from tests.tiny_models import tiny_model

pytestmark = pytest.mark.usefixtures("cheap_passes")


def test_every_item_is_in_one_batch_once():
    encoded = Encoder(tiny_model()).encode_all(variants())
    for budget in (60, 300, 2048):
        batches = share_prefixes(encoded, budget) or []
        numbers = [
            number
            for batch in batches
            for number in (batch.batch if isinstance(batch, SharedBatch) else batch).numbers
        ]
        assert sorted(numbers) == (list(range(len(encoded))) if batches else [])


def test_a_shared_batch_is_its_prefixes_and_its_items():
    bound = tiny_model()
    encoded = Encoder(bound).encode_all(variants())
    for batch in share_prefixes(encoded, 2048):
        if isinstance(batch, SharedBatch):
            for number, one, group in zip(
                batch.batch.numbers, batch.batch.items, batch.group_of, strict=True
            ):
                assert one is encoded[number]
                prefix = batch.prefixes[group]
                assert one.token_ids[: len(prefix)] == prefix
                assert len(one.token_ids) > len(prefix)


def test_groups_are_the_ones_with_the_fewest_tokens():
    # two pairs share 140 tokens and all four share 10: two groups cost 2·140 + 4·5, one costs 10 + 4·135
    start, first, second = [9] * 10, [7] * 130, [8] * 130
    encoded = token_items(
        *(start + own + [20 + number] * 5 for own in (first, second) for number in range(2))
    )
    (shared,) = share_prefixes(encoded, 2048)
    assert sorted(map(len, shared.prefixes)) == [140, 140]
    assert shared.n_tokens == 2 * 140 + 4 * 5


def test_an_item_that_is_the_beginning_of_another_keeps_a_token():
    encoded = token_items([9] * 40, [9] * 60, [9] * 40)
    (shared,) = share_prefixes(encoded, 2048)
    assert len(shared.prefixes[0]) == 39


@pytest.mark.parametrize(
    "rows",
    [
        [[1, 2, 3], [4, 5, 6]],
        [[1] * 3 + [number] * 40 for number in range(2, 9)],
        [[1] * 50],
        [],
    ],
)
def test_where_little_is_shared_nothing_is(rows):
    assert share_prefixes(token_items(*rows), 2048) is None


def questions(n_questions, prefix=90, rest=30, n_variants=5):
    """Token rows: questions of so many tokens, and behind each its variants."""
    return [
        [1000 + question] * prefix + [5 * question + variant] * rest
        for question in range(n_questions)
        for variant in range(n_variants)
    ]


def test_passes_cost_too(monkeypatch):
    few, many = (token_items(*questions(n)) for n in (1, 20))
    assert share_prefixes(few, 2048) is not None
    monkeypatch.setattr("culnig.inference.shared_batches.PASS_OVERHEAD", PASS_OVERHEAD)
    assert share_prefixes(few, 2048) is None
    batches = share_prefixes(many, 2048)
    plain = make_batches(many, 2048)
    # each token forward once for its group and backward for every item: (1 + 5)/2 of a question and 5 rests
    tokens = 20 * (90 * 3 + 30 * 5)
    assert tokens < total_work(batches, 2048) < 0.85 * total_work(plain, 2048)
    assert total_work(plain, 2048) == 100 * 120 + 6 * 2 * PASS_OVERHEAD


def test_long_prefixes_are_cut_where_padding_the_others_would_cost_more(monkeypatch):
    monkeypatch.setattr("culnig.inference.shared_batches.PASS_OVERHEAD", PASS_OVERHEAD)
    longer = [[7] * 62 + row[60:] for row in questions(1, 60)]
    (shared,) = share_prefixes(token_items(*questions(9, prefix=60), *longer), 2048)
    assert [len(prefix) for prefix in shared.prefixes] == [60] * 10
    assert sorted(set(shared.rest_lengths.tolist())) == [30, 32]


def test_the_budget_holds_for_prefixes_and_for_the_rest():
    encoded = Encoder(tiny_model()).encode_all(variants(6, 5))
    batches = share_prefixes(encoded, 400)
    assert sum(isinstance(batch, SharedBatch) for batch in batches) > 1
    for batch in batches:
        if isinstance(batch, SharedBatch):
            longest = max(map(len, batch.prefixes))
            assert len(batch.prefixes) * longest <= 400 or len(batch.prefixes) == 1
            assert batch.n_tokens - len(batch.prefixes) * longest <= 400
        else:
            assert isinstance(batch, Batch)
