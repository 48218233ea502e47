from __future__ import annotations

import numpy as np
import pytest
import torch

import culnig
from culnig.errors import InputError
from culnig.evaluation.means import mean_activations
from culnig.inference.encoding import Encoder
from tests.tiny_models import tiny_items, tiny_model


@pytest.mark.parametrize("family", ["llama", "phi3"])
@pytest.mark.parametrize("budget", [1, 2048])
def test_means_are_over_all_real_tokens_whatever_the_batches(family, budget):
    bound, asked = tiny_model(family), tiny_items(4)
    flat = np.random.default_rng(0).permutation(bound.layout.n_neurons)[:12]
    found = mean_activations(bound, asked, flat, token_budget=budget)
    values = []
    handles = [
        linear.linear.register_forward_hook(
            lambda module, inputs, output, linear=linear: values.append(
                {piece.segment: piece.take(output)[0].double() for piece in linear.slices}
            )
        )
        for linear in bound.linears
    ]
    by_item = []
    for item in asked:
        values.clear()
        with torch.no_grad():
            bound.model(input_ids=torch.tensor([Encoder(bound).encode(item).token_ids]))
        held = {segment: taken for one in values for segment, taken in one.items()}
        by_item.append(torch.cat([held[segment] for segment in bound.layout.segments], dim=-1))
    for handle in handles:
        handle.remove()
    expected = torch.cat(by_item).mean(0).numpy()[flat]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_neuron_set_to_its_mean_is_the_same_at_every_token():
    bound, asked = tiny_model(), tiny_items(3)
    flat = np.array([3, 70])
    means = mean_activations(bound, asked, flat)
    with culnig.intervene(bound, culnig.SetTo(flat, means)):
        np.testing.assert_allclose(mean_activations(bound, asked[:1], flat), means, rtol=1e-6)


def test_no_items_have_no_mean():
    with pytest.raises(InputError, match="no items to take means over"):
        mean_activations(tiny_model(), [], np.array([1]))
