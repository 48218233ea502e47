"""Items in a tree of shared tokens answer as they do alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from culnig.core.outcomes import Outcomes
from culnig.inference import trees
from culnig.inference.answers import AnswerReader
from culnig.inference.batches import Batch, make_batches
from culnig.inference.encoding import Encoder
from culnig.inference.trees import TreeBatch, share_prefixes, sharing_problem
from culnig.models.intervention import intervene
from tests.alike import token_items, variants
from tests.family_proof import bind
from tests.tiny_models import ALL_CONFIGS, tiny_model
from tests.tolerances import assert_probabilities_equal


def tree_of(*rows):
    items = tuple(token_items(*rows))
    return TreeBatch((Batch(tuple(range(len(items))), items),))


def answers(bound, batches, items):
    outcomes = Outcomes.empty(items)
    with AnswerReader(bound) as reader:
        for batch in batches:
            reader.answer(batch, outcomes)
    return outcomes


def widened(bound):
    """The model with a sliding window, if it has one, that no prompt here outgrows."""
    settings = bound.model.config.get_text_config()
    if getattr(settings, "sliding_window", None) is not None:
        settings.sliding_window = 1024
    return bound


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ALL_CONFIGS)
def test_answers_are_those_of_items_alone(family, attention):
    bound = widened(tiny_model(family))
    bound.model.set_attn_implementation(attention)
    items = variants()
    encoded = Encoder(bound).encode_all(items)
    shared = share_prefixes(encoded, 2048)
    with AnswerReader(bound) as reader:
        assert sharing_problem(bound, reader, shared) is None
    gate = np.array([3, 30, 60])
    for factor in (1.0, 0.0):
        with intervene(bound, gate, factor):
            together = answers(bound, shared, items)
            alone = answers(bound, make_batches(encoded, 1), items)
        assert_probabilities_equal(together.p_gold, alone.p_gold)
        assert_probabilities_equal(together.option_probabilities, alone.option_probabilities)
        assert together.predicted.tolist() == alone.predicted.tolist()


def test_a_token_sees_its_ancestors_and_stands_at_its_depth():
    inputs = tree_of([1, 2, 3, 4], [1, 2, 5], [1, 6, 7], [9]).inputs()
    assert inputs.token_ids.tolist() == [[1, 2, 3, 4, 5, 6, 7, 9]]
    assert inputs.positions.tolist() == [[0, 1, 2, 3, 2, 1, 2, 0]]
    assert inputs.last.tolist() == [3, 4, 6, 7]
    seen = [row.nonzero().flatten().tolist() for row in inputs.visible[0, 0]]
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [0, 5], [0, 5, 6], [7]]


def test_an_item_that_begins_another_or_equals_it_adds_nothing():
    inputs = tree_of([1, 2], [1, 2, 3], [1, 2, 3]).inputs()
    assert inputs.token_ids.tolist() == [[1, 2, 3]]
    assert inputs.last.tolist() == [1, 2, 2]


def test_padding_is_seen_by_no_token():
    (long, short) = (tree_of([1, 2, 3]).trees[0], tree_of([4]).trees[0])
    inputs = TreeBatch((long, short)).inputs()
    assert inputs.token_ids.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert inputs.rows.tolist() == [0, 1]
    assert torch.equal(inputs.visible[1, 0], torch.eye(3, dtype=torch.bool))


def test_every_item_is_in_one_row_once_and_the_tokens_are_those_of_the_tree():
    encoded = Encoder(tiny_model()).encode_all(variants())
    for budget in (60, 300, 2048):
        batches = share_prefixes(encoded, budget) or []
        numbers = [number for batch in batches for number in batch.numbers]
        assert sorted(numbers) == (list(range(len(encoded))) if batches else [])
        for batch in batches:
            assert all(one is encoded[n] for n, one in zip(batch.numbers, batch.items, strict=True))
            nodes = [
                len({one.token_ids[:end] for one in tree.items for end in range(1, len(one.token_ids) + 1)})
                for tree in batch.trees
            ]
            assert (batch.longest, batch.n_tokens) == (max(nodes), len(nodes) * max(nodes))


def test_the_budget_holds():
    encoded = Encoder(tiny_model()).encode_all(variants(6, 5))
    batches = share_prefixes(encoded, 400)
    assert len(batches) > 1
    assert max(batch.n_tokens for batch in batches) <= 400


def test_long_rows_are_weighed_against_the_attention_they_cost():
    # 8 tokens of 40 in common: one row of all would save them once more, and see 1,288 tokens at a time
    apart = token_items(*([0] * 8 + [20 + number // 4] * 22 + [60 + number] * 10 for number in range(64)))
    batches = share_prefixes(apart, 4096)
    assert 100 < max(batch.longest for batch in batches) < 700
    # 1,000 tokens in common and 8 of their own: now a long row pays
    close = token_items(*([0] * 1000 + [60 + number] * 8 for number in range(64)))
    (batch,) = share_prefixes(close, 4096)
    assert batch.n_tokens == 1000 + 64 * 8


@pytest.mark.parametrize(
    "rows",
    [
        [[1, 2, 3], [4, 5, 6]],
        [[1] * 3 + [number] * 40 for number in range(2, 9)],
        [[1] * 50],
        [],
    ],
)
def test_nothing_is_shared_where_it_would_not_pay(rows):
    assert share_prefixes(token_items(*rows), 2048) is None


def test_halves_hold_the_same_items_in_the_same_order():
    encoded = Encoder(tiny_model()).encode_all(variants())
    (batch, *_) = share_prefixes(encoded, 2048)
    assert len(batch.trees) > 1
    waiting, alone = [batch], []
    while waiting:
        one = waiting.pop(0)
        if len(one.items) == 1:
            alone.append(one)
            continue
        halves = one.halves()
        assert [n for half in halves for n in half.numbers] == list(one.numbers)
        assert all(half.n_tokens <= one.n_tokens for half in halves)
        waiting = [*halves, *waiting]
    assert [one.numbers[0] for one in alone] == list(batch.numbers)


# models that cannot


def problem(bound, encoded=None):
    encoded = Encoder(bound).encode_all(variants()) if encoded is None else encoded
    with AnswerReader(bound) as reader:
        return sharing_problem(bound, reader, share_prefixes(encoded, 2048))


@pytest.mark.parametrize("family", ["gemma3", "gemma3_multimodal"])
def test_prompts_beyond_a_sliding_window_are_not_shared(family):
    assert "than its sliding window of 16" in problem(tiny_model(family))


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("falcon_h1", "a state goes from token to token in mamba"),
        ("gpt_neo", "it has layers of local"),
        ("falcon, a key for each head", "it cannot read their mask"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_a_mask_does_not_control_is_not_shared(family, reason):
    assert reason in (problem(bind(family).bound) or "")


def test_other_kinds_of_attention_are_not_shared():
    bound = tiny_model()
    bound.model.config.layer_types = ["linear_attention", "full_attention", "full_attention"]
    assert problem(bound) == "it has layers of linear_attention"
    bound = tiny_model()
    bound.model.config._attn_implementation = "flash_attention_2"
    assert "flash_attention_2 takes no mask" in problem(bound)


@pytest.mark.parametrize("forgotten", ["position_ids", "attention_mask"])
def test_a_model_that_ignores_positions_or_mask_is_detected(forgotten, monkeypatch):
    bound = tiny_model()
    forward = bound.model.forward

    def forgetful(input_ids=None, position_ids=None, attention_mask=None, use_cache=None):
        given = {"position_ids": position_ids, "attention_mask": attention_mask}
        given[forgotten] = None
        return forward(input_ids=input_ids, use_cache=use_cache, **given)

    monkeypatch.setattr(bound.model, "forward", forgetful)
    assert "share tokens differ by" in problem(bound)


def test_the_trial_takes_few_tokens_and_tries_a_branch_and_padding():
    (one,) = token_items(range(2, 200))
    trial = trees._trial(one)
    assert trial.n_tokens < 100
    assert (trial.inputs().positions[0].diff() < 0).any()
    assert [len(tree.items) for tree in trial.trees] == [2, 1]
    assert not torch.equal(trial.inputs().visible[0], trial.inputs().visible[1])
