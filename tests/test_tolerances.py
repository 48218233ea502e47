"""The tolerances hold between float32 and float64, and small slips fall outside them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from culnig.inference.batches import Batch
from culnig.inference.encoding import Encoder
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from tests import oracle
from tests.scoring.oracle_rows import oracle_row
from tests.tiny_models import ALL_CONFIGS, CONFIGS, tiny_items, tiny_model
from tests.tolerances import (
    LOGITS,
    TINY,
    assert_positive_counts_equal,
    assert_probabilities_equal,
    assert_scores_equal,
    assert_values_equal,
    noise,
    values_equal,
)

ITEMS = tiny_items(9)
TOGETHER = 10_000
BUDGETS = (1, 300, 700, TOGETHER)


def score(bound, items=ITEMS, token_budget=TOGETHER, aggregator="max"):
    settings = ScoreSettings(aggregator, token_budget)
    return score_benchmark(bound, items, "target", settings)


def compare(found, expected, within=TINY):
    """Every comparison of two scored benchmarks; the ones that fail."""
    checks = {
        "scores": lambda: assert_scores_equal(found.moments.sum, expected.moments.sum, within),
        "squares": lambda: assert_scores_equal(
            found.moments.sum_of_squares, expected.moments.sum_of_squares, within, power=2
        ),
        "counts": lambda: assert_positive_counts_equal(
            found.moments.positive_count, expected.moments.positive_count
        ),
        "P": lambda: assert_probabilities_equal(found.outcomes.p_gold, expected.outcomes.p_gold, within),
        "sums of P": lambda: assert_probabilities_equal(
            found.moments.p_gold_sum, expected.moments.p_gold_sum, within
        ),
    }
    failed = set()
    for name, check in checks.items():
        try:
            check()
        except AssertionError:
            failed.add(name)
    return failed


# what rounding alone makes


def test_the_constants_are_those_of_the_tiny_models():
    sizes = [(config.intermediate_size, config.num_hidden_layers) for config in CONFIGS.values()]
    assert {noise(*size) for size in sizes} == {TINY}
    for family in ALL_CONFIGS:
        with torch.no_grad():
            logits = tiny_model(family).model(torch.arange(2, 60)[None]).logits
        assert LOGITS / 2 < float(logits.square().mean().sqrt()) < LOGITS


@pytest.mark.parametrize("family", ALL_CONFIGS)
def test_float32_is_as_near_to_float64_as_one_of_two_results_may_be(family):
    """√2 of the tolerance is for two results; one is within the rest."""
    within = TINY / np.sqrt(2)
    bound, exact = tiny_model(family), tiny_model(family)
    exact.model.double()
    sums = oracle.culture_sums(exact.model, exact.tokenizer, ITEMS)
    rows = np.array([oracle_row(exact, of_culture) for of_culture in sums.values()])
    probabilities = [oracle.item_scores(exact.model, exact.tokenizer, item)[0] for item in ITEMS]
    for token_budget in BUDGETS:
        found = score(bound, token_budget=token_budget)
        assert_scores_equal(found.moments.sum, rows, within)
        assert_probabilities_equal(found.outcomes.p_gold, probabilities, within)
    ids = torch.arange(2, 60)[None]
    with torch.no_grad():
        assert_values_equal(bound.model(ids).logits, exact.model(ids).logits, within)


@pytest.mark.parametrize("family", ALL_CONFIGS)
def test_other_batches_are_within_the_tolerance(family):
    bound = tiny_model(family)
    expected = score(bound)
    for token_budget in BUDGETS:
        assert compare(score(bound, token_budget=token_budget), expected) == set()


# slips


@pytest.fixture(scope="module")
def expected():
    return score(tiny_model())


@pytest.mark.parametrize("lost", range(len(ITEMS)))
def test_an_item_lost_from_the_sums_is_found(expected, lost):
    kept = [item for number, item in enumerate(ITEMS) if number != lost]
    found = score(tiny_model(), kept)
    order = [found.moments.cultures.index(culture) for culture in expected.moments.cultures]
    with pytest.raises(AssertionError):
        assert_scores_equal(found.moments.sum[order], expected.moments.sum)
    with pytest.raises(AssertionError):
        assert_positive_counts_equal(found.moments.positive_count[order], expected.moments.positive_count)
    with pytest.raises(AssertionError):
        assert_probabilities_equal(found.moments.p_gold_sum[order], expected.moments.p_gold_sum)


def test_an_item_counted_in_another_culture_is_found(expected):
    moved = [replace(ITEMS[0], culture=ITEMS[1].culture), *ITEMS[1:]]
    found = score(tiny_model(), moved)
    order = [found.moments.cultures.index(culture) for culture in expected.moments.cultures]
    with pytest.raises(AssertionError):
        assert_scores_equal(found.moments.sum[order], expected.moments.sum)


@contextmanager
def padding_taken_for_tokens(monkeypatch):
    mask = Batch.token_mask.fget
    with monkeypatch.context() as patched:
        patched.setattr(Batch, "token_mask", property(lambda batch: np.ones_like(mask(batch))))
        yield


@pytest.mark.parametrize("aggregator", ["mean", "last"])
def test_padding_counted_in_a_score_is_found(monkeypatch, aggregator):
    right = score(tiny_model(), aggregator=aggregator)
    assert compare(score(tiny_model(), token_budget=1, aggregator=aggregator), right) == set()
    with padding_taken_for_tokens(monkeypatch):
        assert "scores" in compare(score(tiny_model(), aggregator=aggregator), right)


def test_padding_counted_in_a_maximum_is_found(monkeypatch):
    """A score below zero at every real token becomes the zero of the padding."""
    right = score(tiny_model("olmo2"))
    with padding_taken_for_tokens(monkeypatch):
        assert "scores" in compare(score(tiny_model("olmo2")), right)


def test_an_answer_read_one_token_early_is_found(expected, monkeypatch):
    encode = Encoder.encode_all
    monkeypatch.setattr(
        Encoder,
        "encode_all",
        lambda self, items: [replace(one, token_ids=one.token_ids[:-1]) for one in encode(self, items)],
    )
    assert compare(score(tiny_model()), expected) >= {"scores", "P", "sums of P"}


@pytest.mark.parametrize("number", range(len(tiny_model().linears)))
def test_one_weight_changed_by_one_in_fifty_is_found(expected, number):
    bound = tiny_model()
    weight = bound.linears[number].linear.weight
    place = weight.detach().abs().flatten().argmax()
    with torch.no_grad():
        weight.view(-1)[place] *= 1.02
    assert compare(score(bound), expected) >= {"scores", "P"}


def test_one_weight_changed_moves_the_logits():
    ids = torch.arange(2, 60)[None]
    bound, other = tiny_model(), tiny_model()
    with torch.no_grad():
        right = bound.model(ids).logits
        other.model.model.layers[1].mlp.down_proj.weight[3, 5] *= 1.01
        assert values_equal(right, bound.model(ids).logits)
        assert not values_equal(right, other.model(ids).logits)


def test_one_neuron_given_the_score_of_its_neighbour_is_found(expected):
    swapped = expected.moments.sum.copy()
    swapped[:, [70, 71]] = swapped[:, [71, 70]]
    with pytest.raises(AssertionError):
        assert_scores_equal(swapped, expected.moments.sum)
