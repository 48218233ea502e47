"""Effects are those of a model masked by hand, and the linear estimate where the model is nearly linear."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from culnig.core.neurons import MLP_GATE
from culnig.errors import InputError
from culnig.inference.batches import make_batches
from culnig.inference.encoding import Encoder
from culnig.verification.linearisation import Audit, audit, rank_correlation
from tests.texts import base_model, plain_log_probability, text_items
from tests.tiny_models import tiny_items, tiny_model
from tests.tolerances import LOGITS, TINY, assert_scores_equal

ITEMS = tiny_items(4)


def gate_neurons(bound, n, layer=1):
    segment = bound.layout.segment(MLP_GATE, layer)
    return np.arange(segment.start, segment.start + n)


def gold_probability(bound):
    """P(gold) of each item, straight from the model."""
    batches = make_batches(Encoder(bound).encode_all(ITEMS), 1)  # one item each: no padding
    found = np.empty(len(ITEMS))
    for batch in batches:
        (encoded,) = batch.items
        with torch.inference_mode():
            logits = bound.model(input_ids=torch.tensor([encoded.token_ids])).logits[0, -1]
        found[batch.numbers[0]] = float(logits.softmax(-1)[encoded.gold_id])
    return found


def test_an_effect_is_that_of_a_weight_set_to_zero_by_hand():
    bound = tiny_model()
    top, random = gate_neurons(bound, 3), gate_neurons(bound, 2, layer=2)
    found = audit(bound, ITEMS, top, random)
    assert found.flat.tolist() == [*top, *random]
    bare = gold_probability(bound)
    expected = []
    for layer, index in [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]:
        # a gate of zero is silu(0) = 0: its column of down_proj is never used
        weight = bound.model.model.layers[layer].mlp.down_proj.weight
        kept = weight[:, index].clone()
        with torch.no_grad():
            weight[:, index] = 0
        masked = gold_probability(bound)
        with torch.no_grad():
            weight[:, index] = kept
        expected.append(np.mean(bare * (bare - masked)))
    noise_of_p = 2 * LOGITS * TINY * np.mean(bare * bare)  # a difference of two P
    np.testing.assert_allclose(found.effect, expected, rtol=0, atol=2 * noise_of_p)


def test_where_the_model_is_nearly_linear_the_estimate_is_the_effect():
    bound = tiny_model(seed=1)
    with torch.no_grad():
        for layer in bound.model.model.layers:
            layer.mlp.gate_proj.weight *= 1e-2  # silu is a line near zero
    top, random = gate_neurons(bound, 12), gate_neurons(bound, 12, layer=2)
    found = audit(bound, ITEMS, top, random)
    assert found.correlations["linear estimate, all"].rho > 0.95
    assert not np.allclose(found.score, found.first_order, atol=0)  # max is not the sum over tokens


def test_scores_equal_those_of_the_benchmark():
    from culnig.scoring.scoring import ScoreSettings, score_benchmark

    bound = tiny_model()
    top = gate_neurons(bound, 4)
    found = audit(bound, ITEMS, top, top[:0])
    moments = score_benchmark(bound, ITEMS, "target", ScoreSettings()).moments
    expected = moments.sum.sum(axis=0)[top] / len(ITEMS)
    assert_scores_equal(found.score, expected)


def test_the_model_is_left_as_it_was():
    bound = tiny_model()
    before = gold_probability(bound)
    audit(bound, ITEMS, gate_neurons(bound, 2), gate_neurons(bound, 2, layer=0))
    assert gold_probability(bound).tolist() == before.tolist()


def test_the_correlation_is_scipys_and_the_interval_covers():
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        x = random.normal(size=40)
        y = 0.6 * x + 0.8 * random.normal(size=40)
        found = rank_correlation(x, y)
        assert found.rho == stats.spearmanr(x, y).statistic
        truth = 6 / np.pi * np.arcsin(0.6 / 2)  # Spearman's ρ of a normal pair with correlation 0.6
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 300 <= 0.98


def test_the_interval_of_the_correlation_by_hand():
    # ranks 1 2 3 4 5 6 7 against 2 1 4 3 6 5 7: Σd² = 6, so ρ = 1 - 6·6 / (7·48)
    found = rank_correlation(np.arange(7.0), np.array([2.0, 1, 4, 3, 6, 5, 7]))
    rho = 1 - 36 / 336
    assert found.rho == pytest.approx(rho)
    half = stats.norm.ppf(0.975) * np.sqrt(1.06 / 4)
    z = 0.5 * np.log((1 + rho) / (1 - rho))
    ends = [(np.exp(2 * end) - 1) / (np.exp(2 * end) + 1) for end in (z - half, z + half)]
    assert [found.low, found.high] == pytest.approx(ends, rel=1e-6)


def test_constant_values_have_no_correlation():
    assert np.isnan(rank_correlation(np.ones(10), np.arange(10.0)).rho)
    assert np.isnan(rank_correlation(np.arange(3.0), np.arange(3.0)).rho)
    same = rank_correlation(np.arange(5.0), np.arange(5.0))
    assert [same.rho, same.low, same.high] == pytest.approx([1, 1, 1])


@pytest.mark.parametrize(
    ("effect", "low"), [([4, 3, 2, 1, 0.5], False), ([1, 5, 2, 4, 3], True), ([0] * 5, True)]
)
def test_a_low_correlation_is_noticed(effect, low):
    score = np.array([5.0, 4, 3, 2, 1])
    found = Audit(np.arange(5), 3, score, score, np.array(effect, dtype=float))
    assert found.is_low is low


def test_nothing_to_audit_is_refused():
    bound = tiny_model()
    with pytest.raises(InputError, match="at least one of each"):
        audit(bound, [], gate_neurons(bound, 2), gate_neurons(bound, 2))
    with pytest.raises(InputError, match="at least one of each"):
        audit(bound, ITEMS, gate_neurons(bound, 0), gate_neurons(bound, 2))


def test_effects_on_texts_are_those_on_their_log_probability():
    bound, items = base_model(), text_items(3)[::2]  # with four options each
    (effect, _) = audit(bound, items, gate_neurons(bound, 1), gate_neurons(bound, 1, layer=2)).effect

    def logs():
        with torch.no_grad():
            rows = [
                [
                    float(plain_log_probability(bound.model, bound.tokenizer, f"{item.prompt} ", text))
                    for text in item.options
                ]
                for item in items
            ]
        return np.array(rows)

    before = logs()
    with torch.no_grad():
        bound.model.model.layers[1].mlp.down_proj.weight[:, 0] = 0
    lost = before - logs()
    rows, golds = [0, 1], [item.options.index(item.answer) for item in items]
    shares = np.exp(before) / np.exp(before).sum(1, keepdims=True)
    assert effect == pytest.approx((shares * lost)[rows, golds].mean(), rel=1e-3, abs=1e-6)
