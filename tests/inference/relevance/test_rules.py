"""Relevance scores against rules written as autograd functions, by hand, and what must not change."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from culnig import registry
from culnig.inference.encoding import Encoder
from culnig.inference.relevance.rules import RelevanceRules
from culnig.models.base import bind_model
from culnig.models.gated_decoder import GatedDecoder
from culnig.scoring.capture import Capture
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from culnig.scoring.target_scores import TargetScores
from tests import oracle
from tests.inference.relevance.plain_rules import ruled, toy
from tests.scoring.oracle_rows import oracle_row
from tests.scoring.toy_model import toy_batch
from tests.tiny_models import byte_tokenizer, tiny_items, tiny_model
from tests.tolerances import assert_scores_equal

FAMILIES = ("llama", "phi3", "olmo2", "gemma3", "gpt2", "gpt_neox")
"""RMSNorm and LayerNorm, before, after and inside of attention; gated MLPs, fused too, and plain ones."""
ITEMS = tiny_items(4)


def scored(bound, *names, **options):
    scorers = [registry.scorer(name) for name in names]
    return score_benchmark(bound, ITEMS, "target", ScoreSettings(), scorers=scorers, **options)


def by_autograd_functions(bound):
    """Sums per culture in the layout's order; what the rules halve behind gate and up is whole there."""
    sums = oracle.culture_sums(ruled(bound.model), bound.tokenizer, ITEMS)
    expected = {}
    for culture, by_name in sums.items():
        expected[culture] = own = oracle_row(bound, by_name)
        for segment in bound.layout.segments:
            if segment.module in ("mlp.gate_proj", "mlp.up_proj"):
                own[segment.columns] *= 2
    return expected


@pytest.mark.processors
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_a_model_made_of_the_rules(family):
    bound = tiny_model(family)
    own, expected = scored(bound, "relp").scorers["relp"], by_autograd_functions(bound)
    for culture, row in zip(own.cultures, own.sum, strict=True):
        assert_scores_equal(row, expected[culture])


def test_relevance_of_a_layer_by_hand(monkeypatch):
    bound = bind_model("toy", toy(), byte_tokenizer(), [GatedDecoder()])
    batch = toy_batch([[1]], ["Spain"])
    monkeypatch.setattr(Encoder, "encode_all", lambda self, items: list(batch.items))
    scorers = [registry.scorer(name) for name in ("relp", "relp-log-odds")]
    items = [encoded.item for encoded in batch.items]
    scores = score_benchmark(bound, items, "target", ScoreSettings(), scorers=scorers)
    # the product's relevance is 14 · 1/4 = 7/2, and so is that of gate and up. Half of it goes to each one's
    # input: 7/4 to the first hidden value and as much to the second, and so on to query, key and value by
    # their shares of 1/2, 1/4 and 1/4
    expected = 0.5 * np.array([7 / 8, 7 / 8, 7 / 16, 7 / 16, 7 / 16, 7 / 16, 7 / 2, 7 / 2])
    np.testing.assert_allclose(scores.scorers["relp"].sum[0], expected, rtol=1e-6)
    assert scores.scorers["relp"].sum[0, :6].sum() == pytest.approx(0.5 * 14 / 4)  # nothing is lost
    # the log-odds of the two labels is the logit, four times as steep
    np.testing.assert_allclose(scores.scorers["relp-log-odds"].sum[0], 4 * expected, rtol=1e-6)
    # the gradient of a norm is at right angles to its input: for query, key and value it adds up to 0
    assert scores.moments.sum[0, :6].sum() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_nothing_else_changes_by_a_bit(family):
    bound = tiny_model(family)
    alone, beside = scored(bound, "log-odds"), scored(bound, "log-odds", "relp")
    np.testing.assert_array_equal(beside.moments.sum, alone.moments.sum)
    np.testing.assert_array_equal(beside.scorers["log-odds"].sum, alone.scorers["log-odds"].sum)
    np.testing.assert_array_equal(beside.outcomes.option_probabilities, alone.outcomes.option_probabilities)
    ids = torch.arange(3, 20)[None]
    bare = bound.model(ids).logits
    rules = RelevanceRules(bound)
    with Capture(bound, lambda *pair: None), rules.hooked(), rules.acting():
        assert torch.equal(bound.model(ids).logits, bare)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_checkpointed_layers_have_the_same_relevance(family):
    bound = tiny_model(family)
    whole, again = scored(bound, "relp"), scored(bound, "relp", gradient_checkpointing=True)
    assert_scores_equal(again.scorers["relp"].sum, whole.scorers["relp"].sum)


def hooks(model):
    return [
        list(registered.values())
        for module in model.modules()
        for registered in (module._forward_hooks, module._forward_pre_hooks)
    ]


def test_an_error_leaves_no_hook_and_no_rule(monkeypatch):
    bound = tiny_model()
    before, plain = hooks(bound.model), scored(bound).moments.sum

    def broken(self, *values):
        raise RuntimeError("in the midst of a backward pass")

    with monkeypatch.context() as patched:
        patched.setattr(TargetScores, "write", broken)
        with pytest.raises(RuntimeError, match="in the midst"):
            scored(bound, "relp")
    assert hooks(bound.model) == before
    rules = RelevanceRules(bound)
    with pytest.raises(RuntimeError, match="acting"), rules.hooked(), rules.acting():
        raise RuntimeError("while acting")
    assert hooks(bound.model) == before
    assert not rules.act
    np.testing.assert_array_equal(scored(bound).moments.sum, plain)


def test_a_gate_of_exactly_zero_passes_nothing_and_stays_finite():
    bound = tiny_model()
    with torch.no_grad():
        bound.model.model.layers[1].mlp.gate_proj.weight[:3] = 0
    found = scored(bound, "relp").scorers["relp"]
    gates = bound.layout.segment("mlp.gate_proj", 1)
    assert np.isfinite(found.sum).all()
    assert not found.sum[:, gates.start : gates.start + 3].any()
    assert found.sum[:, gates.start + 3 : gates.start + gates.width].all()


def test_half_precision_models_are_scored():
    found = scored(tiny_model(dtype=torch.bfloat16), "relp", "relp-log-odds")
    exact = scored(tiny_model(), "relp").scorers["relp"].sum
    assert np.isfinite(found.scorers["relp-log-odds"].sum).all()
    assert np.corrcoef(found.scorers["relp"].sum.ravel(), exact.ravel())[0, 1] > 0.98


def test_the_toys_own_numbers():
    logits = toy()(torch.tensor([[1]]))
    assert isinstance(logits, SimpleNamespace)
    assert logits.logits.tolist() == [[[0.0, 0.0]]]
