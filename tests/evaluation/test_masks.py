"""Masks that replace activations, through the whole evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from culnig.errors import InputError
from culnig.evaluation.conditions import make_conditions
from culnig.evaluation.masks import Replacements
from culnig.evaluation.runner import run_conditions
from culnig.inference.encoding import Encoder
from tests.edited_weights import set_bias
from tests.evaluation.test_runner import asked, same
from tests.tiny_models import tiny_items, tiny_model
from tests.tolerances import assert_probabilities_equal
from tests.toy import neuron_set

PLACES = [3, 50, 90, 130]


def prompts_of(bound, n=6):
    return [one.token_ids for one in Encoder(bound).encode_all(tiny_items(n))]


def conditions_of(bound, mask, n_random=1):
    chosen = neuron_set(bound.layout, PLACES, name="general")
    return make_conditions([chosen], bound.layout, n_random=n_random, mask=mask)


def evaluated(mask, items, *, prompts=None, **options):
    bound = tiny_model()
    conditions = conditions_of(bound, mask)
    replacements = Replacements.of(bound, prompts or prompts_of(bound), conditions)
    return run_conditions(bound, {"a": items}, conditions, replacements=replacements, **options)


def gold(bound, item):
    one = Encoder(bound).encode(item)
    with torch.no_grad():
        return float(
            bound.model(input_ids=torch.tensor([one.token_ids])).logits[0, -1].softmax(-1)[one.gold_id]
        )


def at_tokens(bound, ids):
    """Activations of the neurons at PLACES in one prompt, (token, neuron), by hooks of torch alone."""
    seen = {}
    with torch.no_grad():
        handles = [
            linear.linear.register_forward_hook(
                lambda module, inputs, output, linear=linear: seen.update(
                    {piece.segment: piece.take(output)[0].double() for piece in linear.slices}
                )
            )
            for linear in bound.linears
        ]
        bound.model(input_ids=torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return torch.cat([seen[segment] for segment in bound.layout.segments], dim=-1).numpy()[:, PLACES]


def test_a_mean_mask_equals_a_model_whose_biases_are_the_means():
    bound, edited = tiny_model(), tiny_model()
    prompts = prompts_of(bound)
    means = np.concatenate([at_tokens(bound, ids) for ids in prompts]).mean(0)
    for neuron, mean in zip(bound.layout.neurons(np.array(PLACES)), means, strict=True):
        set_bias(edited.model, neuron, float(mean))
    found = evaluated("mean", asked(), prompts=prompts)
    expected = [gold(edited, item) for item in asked()]
    assert_probabilities_equal(found["a", "general (mean)"].p_gold, expected)
    assert not np.allclose(found["a", "unmasked"].p_gold, expected, rtol=1e-3)


def test_a_resample_mask_gives_each_item_what_one_token_of_one_prompt_had():
    bound = tiny_model()
    prompts = [ids[:20] for ids in prompts_of(bound, 3)]
    found = evaluated("resample", asked(6), prompts=prompts)["a", "general (resample)"].p_gold
    neurons = bound.layout.neurons(np.array(PLACES))
    possible, edited = [], tiny_model()
    for ids in prompts:
        for values in at_tokens(bound, ids):
            for neuron, value in zip(neurons, values, strict=True):
                set_bias(edited.model, neuron, float(value))
            possible.append([gold(edited, item) for item in asked(6)[:2]])
    for item, probability in enumerate(found[:2]):
        of_item = np.array(possible)[:, item]
        assert_probabilities_equal(probability, of_item[np.abs(of_item - probability).argmin()])


@pytest.mark.parametrize("mask", ["mean", "resample"])
def test_answers_depend_neither_on_batches_nor_on_the_order_of_items(mask):
    items = asked()
    expected = evaluated(mask, items)
    same(evaluated(mask, items, token_budget=1), expected)
    back = evaluated(mask, items[::-1])
    for key, outcomes in expected.items():
        assert_probabilities_equal(back[key].p_gold[::-1], outcomes.p_gold)


def test_items_are_given_different_prompts():
    bound = tiny_model()
    replacements = Replacements.of(bound, prompts_of(bound), conditions_of(bound, "resample"))
    replacements.begin([f"item-{number}" for number in range(60)])
    counts = np.bincount(replacements.rows(60), minlength=6)
    assert counts.min() > 2
    assert counts.sum() == 60


def test_written_answers_are_masked_too():
    bound = tiny_model()
    short = [replace(item, options=(), answer="x", accepted=("x",), language="en") for item in tiny_items(5)]
    conditions = conditions_of(bound, "resample")
    replacements = Replacements.of(bound, prompts_of(bound), conditions)

    def written(budget):
        return run_conditions(
            bound, {"a": short}, conditions, token_budget=budget, max_new_tokens=6, replacements=replacements
        )

    together, alone = written(4096), written(1)
    name = "general (resample)"
    assert together["a", name].predicted.tolist() == alone["a", name].predicted.tolist()
    assert together["a", name].predicted.tolist() != together["a", "unmasked"].predicted.tolist()


def test_missing_values_are_requested():
    bound = tiny_model()
    conditions = conditions_of(bound, "mean")
    with pytest.raises(InputError, match="no values are given for some of its neurons"):
        run_conditions(bound, {"a": tiny_items(2)}, conditions)
    fewer = Replacements.of(bound, prompts_of(bound), conditions[:2])
    with pytest.raises(InputError, match="random 0 like general"):
        run_conditions(bound, {"a": tiny_items(2)}, conditions, replacements=fewer)


def test_a_factor_does_not_go_with_a_replacement():
    layout = tiny_model().layout
    with pytest.raises(InputError, match="takes no factor"):
        make_conditions([neuron_set(layout, [1])], layout, factor=2.0, mask="mean")
    (_, own, random) = conditions_of(tiny_model(), "mean")
    assert (own.name, own.factor, own.mask) == ("general (mean)", 0.0, "mean")
    assert (random.name, random.like, random.mask) == ("random 0 like general (mean)", own.name, "mean")
