"""Log-probabilities of options beside those that transformers gives, one option at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from culnig.core.outcomes import Outcomes
from culnig.errors import InputError
from culnig.evaluation.conditions import Condition
from culnig.evaluation.runner import run_conditions
from culnig.evaluation.sharing import Sharing
from culnig.inference import likelihoods
from culnig.inference.answers import AnswerReader
from culnig.inference.encoding import Encoder
from culnig.inference.likelihoods import answer_batches, cut, n_prompts
from culnig.models.intervention import intervene
from tests.texts import base_model, plain_log_probability, text_items
from tests.tiny_models import tiny_model
from tests.tolerances import assert_probabilities_equal

MASKED = Condition("masked", 0.0, np.array([3, 30, 60]))
UNMASKED = Condition("unmasked", 1.0, np.empty(0, dtype=np.int64))


def plain_table(bound, items):
    """(item, option), padded with NaN."""
    table = np.full((len(items), max(len(item.options) for item in items)), np.nan)
    with torch.no_grad():
        for row, item in enumerate(items):
            for column, option in enumerate(item.options):
                value = plain_log_probability(bound.model, bound.tokenizer, f"{item.prompt} ", option)
                table[row, column] = value
    return table


@pytest.mark.parametrize("family", ["llama", "gemma3", "phi3"])
@pytest.mark.parametrize("shared", [False, True])
def test_every_option_has_the_log_probability_that_it_has_alone(family, shared):
    bound = base_model(family)
    bound.model.config.get_text_config().sliding_window = None if family == "phi3" else 1024
    items = text_items()
    answers = run_conditions(
        *(bound, {"texts": items}, [UNMASKED, MASKED]), sharing={"texts": Sharing(shared=shared)}
    )
    for condition in (UNMASKED, MASKED):
        with intervene(bound, condition.flat, condition.factor):
            expected = plain_table(bound, items)
        outcomes = answers["texts", condition.name]
        np.testing.assert_allclose(outcomes.log_probabilities, expected, atol=2e-4)
        best = np.nanargmax(expected, axis=1)
        assert outcomes.predicted.tolist() == [item.options[at] for item, at in zip(items, best, strict=True)]
        powers = np.exp(expected - np.nanmax(expected, axis=1, keepdims=True))
        of_options = powers / np.nansum(powers, axis=1, keepdims=True)
        assert_probabilities_equal(outcomes.option_probabilities, of_options)
        golds = [item.options.index(item.answer) for item in items]
        assert_probabilities_equal(outcomes.p_gold, of_options[np.arange(len(items)), golds])


def test_per_byte_another_option_may_win():
    bound, items = base_model(), text_items(likelihood="bytes")
    expected = plain_table(bound, items)
    sizes = np.ones_like(expected)
    for row, item in enumerate(items):
        sizes[row, : len(item.options)] = [len(text.encode()) for text in item.options]
    best = np.nanargmax(expected / sizes, axis=1)
    outcomes = run_conditions(bound, {"texts": items}, [UNMASKED])["texts", "unmasked"]
    assert outcomes.predicted.tolist() == [item.options[at] for item, at in zip(items, best, strict=True)]
    by_sum = run_conditions(bound, {"texts": text_items()}, [UNMASKED])["texts", "unmasked"]
    assert outcomes.predicted.tolist() != by_sum.predicted.tolist()
    np.testing.assert_array_equal(outcomes.log_probabilities, by_sum.log_probabilities)


def test_answers_do_not_depend_on_batches_that_part_an_items_options(monkeypatch):
    bound, items = base_model(), text_items()
    encoded = Encoder(bound).encode_all(items)
    tables = []
    for budget, most in ((2048, 1 << 25), (60, 1 << 25), (2048, 260 * 20)):
        monkeypatch.setattr(likelihoods, "MOST_LOGITS", most)
        outcomes = Outcomes.empty(items)
        batches = answer_batches(bound, encoded, budget)
        assert all(
            sum(len(row.targets) for row in batch.items) <= most // 260 or len(batch.items) == 1
            for batch in batches
        )
        with AnswerReader(bound) as reader:
            reader.answer_all(batches, outcomes)
        tables.append((len(batches), outcomes))
    assert len({n_batches for n_batches, _ in tables}) == 3
    for _, outcomes in tables[1:]:
        np.testing.assert_allclose(outcomes.log_probabilities, tables[0][1].log_probabilities, atol=2e-4)
        assert outcomes.predicted.tolist() == tables[0][1].predicted.tolist()
    assert outcomes.n_tokens.tolist() == [len(own.token_ids) for own in encoded]


def test_batches_of_labels_are_not_cut(monkeypatch):
    bound = tiny_model()
    monkeypatch.setattr(likelihoods, "MOST_LOGITS", 1)
    items = [replace(item, likelihood=None, options=("A", "B"), answer="A") for item in text_items()]
    batches = answer_batches(bound, Encoder(bound).encode_all(items), 2048)
    assert cut(bound, batches) == batches
    assert len(batches) == 1
    assert (n_prompts(items), n_prompts(text_items())) == (5, 18)


def test_a_log_probability_that_is_no_number_is_refused():
    bound, items = base_model(), text_items()
    with (
        intervene(bound, np.arange(40), float("1e38")),
        pytest.raises(InputError, match="is nan; the model's"),
    ):
        run_conditions(bound, {"texts": items}, [UNMASKED])
