"""The scoring loop against plain autograd, on tiny random models of real families."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from culnig.errors import NonFiniteError
from culnig.inference.batches import Batch
from culnig.inference.encoding import Encoder
from culnig.scoring.scoring import ScoreSettings, Scoring, score_benchmark
from tests import oracle
from tests.scoring.oracle_rows import oracle_row
from tests.tiny_models import ALL_CONFIGS, tiny_items, tiny_model
from tests.tolerances import assert_probabilities_equal, assert_scores_equal


@pytest.mark.parametrize("family", ALL_CONFIGS)
def test_scores_equal_plain_autograd(family):
    bound, items = tiny_model(family), tiny_items()
    scores = score_benchmark(bound, items, "target", ScoreSettings(token_budget=300))
    sums = oracle.culture_sums(bound.model, bound.tokenizer, items)
    assert scores.moments.cultures == ("Spain", "China", "Iran")
    for culture, row in zip(scores.moments.cultures, scores.moments.sum, strict=True):
        assert_scores_equal(row, oracle_row(bound, sums[culture]))


@pytest.mark.parametrize("aggregator", ["absmax", "sum", "mean", "last"])
def test_every_aggregator_equals_plain_autograd(aggregator):
    bound, items = tiny_model(), tiny_items(4)
    scores = score_benchmark(bound, items, "target", ScoreSettings(aggregator, 300))
    sums = oracle.culture_sums(bound.model, bound.tokenizer, items, aggregator=aggregator)
    expected = oracle_row(bound, sums["Spain"])
    assert_scores_equal(scores.moments.sum[0], expected)


def test_control_equals_plain_autograd_with_the_clamp():
    bound, items = tiny_model(), tiny_items(4)
    scores = score_benchmark(bound, items, "control", ScoreSettings(aggregator="last"))
    sums = oracle.culture_sums(bound.model, bound.tokenizer, items, control=True, aggregator="last")
    expected = oracle_row(bound, sums["Spain"])
    assert (expected == 0).any(), "the clamp should bite somewhere"
    assert_scores_equal(scores.moments.sum[0], expected)


def test_results_do_not_depend_on_batches_or_the_order_of_items():
    bound, items = tiny_model(), tiny_items(9)
    together = score_benchmark(bound, items, "target", ScoreSettings(token_budget=2048))
    alone = score_benchmark(bound, items, "target", ScoreSettings(token_budget=1))
    backwards = score_benchmark(bound, items[::-1], "target", ScoreSettings(token_budget=400))
    rows = [backwards.moments.cultures.index(culture) for culture in together.moments.cultures]
    for other in (alone.moments.sum, backwards.moments.sum[rows]):
        assert_scores_equal(other, together.moments.sum)
    assert_probabilities_equal(alone.outcomes.p_gold, together.outcomes.p_gold)
    assert_probabilities_equal(backwards.outcomes.p_gold[::-1], together.outcomes.p_gold)


def test_values_in_the_padding_change_no_bit(monkeypatch):
    bound, items = tiny_model(), tiny_items(6)
    settings = ScoreSettings(token_budget=10_000)
    plain = score_benchmark(bound, items, "target", settings)
    token_ids = Batch.token_ids

    def other_padding(batch):
        ids = token_ids(batch)
        ids[~torch.from_numpy(batch.token_mask)] = 77
        return ids

    monkeypatch.setattr(Batch, "token_ids", other_padding)
    changed = score_benchmark(bound, items, "target", settings)
    assert plain.batches_done == 1
    np.testing.assert_array_equal(changed.moments.sum, plain.moments.sum)
    np.testing.assert_array_equal(changed.outcomes.p_gold, plain.outcomes.p_gold)


def test_outcomes_are_in_file_order_and_as_the_full_model_says():
    bound, items = tiny_model(), tiny_items()
    outcomes = score_benchmark(bound, items, "target", ScoreSettings(token_budget=300)).outcomes
    assert list(outcomes.id) == [item.id for item in items]
    for number, item in enumerate(items):
        ids, gold = oracle.token_ids(bound.tokenizer, item)
        with torch.no_grad():
            probabilities = bound.model(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1)
        assert_probabilities_equal(outcomes.p_gold[number], probabilities[gold])
        assert outcomes.correct[number] == (int(probabilities.argmax()) == gold)
        labels = [bound.tokenizer.encode(label)[0] for label in item.options]
        assert_probabilities_equal(outcomes.option_probabilities[number], probabilities[labels])


def test_resuming_after_an_interruption_gives_the_same_bits():
    bound, items = tiny_model(), tiny_items(9)
    settings = ScoreSettings(token_budget=200)
    whole = score_benchmark(bound, items, "target", settings)

    class Interrupted(Exception):
        pass

    def stop_after_two(batches_done, n_items):
        if batches_done == 2:
            raise Interrupted

    scoring = Scoring(bound, Encoder(bound).encode_all(items), "target", settings)
    resumed = scoring.empty()
    with pytest.raises(Interrupted):
        scoring.score(0, resumed, after_batch=stop_after_two)
    assert resumed.batches_done == 2 < len(scoring.batches)
    scoring.score(0, resumed)
    assert resumed.batches_done == len(scoring.batches)
    np.testing.assert_array_equal(resumed.moments.sum, whole.moments.sum)
    np.testing.assert_array_equal(resumed.outcomes.p_gold, whole.outcomes.p_gold)


def test_half_precision_models_are_scored():
    bound, items = tiny_model(dtype=torch.bfloat16), tiny_items(4)
    exact = score_benchmark(tiny_model(), items, "target", ScoreSettings()).moments.sum
    rough = score_benchmark(bound, items, "target", ScoreSettings()).moments.sum
    assert np.corrcoef(exact.ravel(), rough.ravel())[0, 1] > 0.95


def put_into_output(module, value):
    """Put `value` into neuron 5 of a module's output."""
    module.register_forward_hook(
        lambda module, inputs, output: output.index_fill(-1, torch.tensor([5]), value), prepend=True
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_activation_that_is_not_finite_names_module_layer_item_and_neuron(value):
    bound = tiny_model()
    put_into_output(bound.model.model.layers[1].self_attn.v_proj, value)
    with pytest.raises(
        NonFiniteError, match=r"activations of self_attn\.v_proj, layer 1 \(item item-.*neuron 5;"
    ):
        score_benchmark(bound, tiny_items(3), "target", ScoreSettings())


def test_a_gradient_that_is_not_finite_names_module_and_layer():
    bound = tiny_model()

    def break_gradient(module, inputs, output):
        output.register_hook(lambda gradient: gradient.index_fill(-1, torch.tensor([2]), float("nan")))

    bound.model.model.layers[2].mlp.gate_proj.register_forward_hook(break_gradient)
    with pytest.raises(NonFiniteError, match=r"products .* of mlp\.gate_proj, layer 2 \(item item-"):
        score_benchmark(bound, tiny_items(2), "target", ScoreSettings())


def test_an_item_that_is_not_finite_is_named_among_others_that_are():
    bound, items = tiny_model(), tiny_items(3)
    longest = max(items, key=lambda item: len(item.prompt))

    def break_one(module, inputs, output):
        return output.index_fill(0, torch.tensor([0]), float("nan")) if len(output) > 1 else output

    bound.model.model.layers[1].self_attn.v_proj.register_forward_hook(break_one, prepend=True)
    with pytest.raises(NonFiniteError, match=rf"item {longest.id}"):
        score_benchmark(bound, items, "target", ScoreSettings())
