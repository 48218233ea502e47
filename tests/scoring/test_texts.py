"""Scores of options that are read as texts beside plain autograd, one item at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from culnig.core.neurons import MLP_GATE
from culnig.errors import InputError, NonFiniteError
from culnig.evaluation.instances.scores import instance_scores
from culnig.inference import likelihoods
from culnig.registry import scorer
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from culnig.scoring.texts import check_texts
from tests.texts import base_model, plain_log_probability, text_items
from tests.tiny_models import tiny_items
from tests.tolerances import assert_scores_equal

SETTINGS = ScoreSettings(token_budget=200)


def plain_scores(bound, item, aggregate=lambda contributions: contributions.amax(0)):
    """The weight and max over tokens of a · ∂L/∂a of every gate neuron, (neuron,), L = log P(gold text)."""
    layers = [module for name, module in bound.model.named_modules() if name.endswith("gate_proj")]
    outputs = []
    handles = [
        layer.register_forward_hook(lambda module, inputs, output: outputs.append(output)) for layer in layers
    ]
    gold = item.options.index(item.answer)
    logs = []
    for at, option in enumerate(item.options):
        outputs.clear()
        value = plain_log_probability(bound.model, bound.tokenizer, f"{item.prompt} ", option)
        logs.append(float(value.detach()))
        if at == gold:
            # the last token is only predicted: nothing depends on what the model computes at it
            gradients = torch.autograd.grad(value, outputs)
            pairs = zip(list(outputs), gradients, strict=True)
            kept = [aggregate((output * gradient).detach()[0, :-1]) for output, gradient in pairs]
            assert all(not gradient[0, -1].any() for gradient in gradients)
    for handle in handles:
        handle.remove()
    share = np.exp(logs[gold]) / np.exp(logs).sum()
    return float(share), torch.cat(kept).double().numpy()


def gates(bound, table):
    """Columns of the gate neurons, in the order of the layers."""
    return table[..., bound.layout.pool(MLP_GATE)]


@pytest.mark.parametrize("role", ["target", "control"])
def test_scores_are_those_of_plain_autograd(role):
    bound, items = base_model(), text_items()
    scores = score_benchmark(bound, items, role, SETTINGS)
    expected = {}
    for row, item in enumerate(items):
        share, own = plain_scores(bound, item)
        weighted = share * own
        expected[item.culture] = expected.get(item.culture, 0) + (
            np.maximum(weighted, 0) if role == "control" else weighted
        )
        assert scores.outcomes.p_gold[row] == pytest.approx(share, rel=1e-4)
    for row, culture in enumerate(scores.moments.cultures):
        assert_scores_equal(gates(bound, scores.moments.sum[row]), expected[culture])


def test_scores_do_not_depend_on_batches_checkpointing_or_a_cut(monkeypatch):
    bound, items = base_model(), text_items()
    whole = score_benchmark(bound, items, "target", ScoreSettings())
    alone = score_benchmark(bound, items, "target", ScoreSettings(token_budget=1))
    checkpointed = score_benchmark(bound, items, "target", SETTINGS, gradient_checkpointing=True)
    monkeypatch.setattr(likelihoods, "MOST_LOGITS", 260 * 16)
    parted = score_benchmark(bound, items, "target", ScoreSettings())
    assert parted.batches_done > whole.batches_done
    for scores in (alone, checkpointed, parted):
        for row in range(len(whole.moments.cultures)):
            assert_scores_equal(scores.moments.sum[row], whole.moments.sum[row])
        assert scores.outcomes.predicted.tolist() == whole.outcomes.predicted.tolist()


def test_instance_scores_are_those_of_single_items():
    bound, items = base_model(), text_items(3)
    flat = bound.layout.pool(MLP_GATE)
    raw = instance_scores(bound, items, flat).raw
    for row, item in enumerate(items):
        share, own = plain_scores(bound, item)
        assert_scores_equal(raw[row], share * own)


def test_scorers_that_need_no_labels_take_the_log_probability():
    bound, items = base_model(), text_items(3)
    names = ("log-probability", "mean-activation", "gradient-norm", "integrated-gradients", "relp")
    scores = score_benchmark(bound, items, "target", SETTINGS, scorers=[scorer(name) for name in names])
    unweighted = sum(plain_scores(bound, item)[1] for item in items)
    of_log = scores.scorers["log-probability"].sum.sum(axis=0)
    assert_scores_equal(gates(bound, of_log), unweighted)
    for moments in scores.scorers.values():
        assert np.isfinite(moments.sum).all()
        assert moments.sum.any()


@pytest.mark.parametrize("name", ["log-odds", "crispr", "relp-log-odds", "released-code"])
def test_scorers_for_labels_are_refused(name):
    said = f"scorer '{name}' is only for labels.*item item-0 are read as texts"
    with pytest.raises(InputError, match=said):
        score_benchmark(base_model(), text_items(), "target", SETTINGS, scorers=[scorer(name)])
    check_texts(tiny_items(), [scorer(name)])


def test_a_swap_of_cultures_and_a_spread_model_are_refused():
    with pytest.raises(InputError, match=r"baseline.*token by token, but .* differ between cultures"):
        check_texts(text_items(), baseline="other-cultures")
    with pytest.raises(InputError, match="a model that is spread over processes cannot be scored on them"):
        check_texts(text_items(), is_spread=True)


def test_activations_that_overflow_are_named():
    bound = base_model()
    with torch.no_grad():
        bound.model.model.layers[1].mlp.up_proj.weight.fill_(torch.inf)
    with pytest.raises(NonFiniteError, match=r"activations of .*layer"):
        score_benchmark(bound, [replace(item) for item in text_items()], "target", SETTINGS)
