"""Masking is exactly zeroing the weight row, and is exactly undone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from culnig.errors import InputError
from culnig.intervention import intervene
from culnig.neurons import Neuron
from tests.tiny_models import CONFIGS, tiny_model

NEURONS = [
    Neuron("self_attn.q_proj", 0, 3),
    Neuron("self_attn.k_proj", 1, 2),
    Neuron("self_attn.v_proj", 2, 7),
    Neuron("mlp.gate_proj", 0, 0),
    Neuron("mlp.gate_proj", 2, 39),
]
TOKENS = torch.tensor([[5, 40, 77, 12, 9], [33, 6, 250, 8, 100]])


def logits(bound):
    with torch.no_grad():
        return bound.model(input_ids=TOKENS).logits


def flat(bound):
    return np.array([bound.layout.flat(neuron) for neuron in NEURONS])


def scale_rows(bound, factor):
    """Edit the weights instead: the row of each neuron, wherever its projection is fused."""
    for linear in bound.linears:
        for piece in linear.slices:
            for neuron in NEURONS:
                if (neuron.module, neuron.layer) == (piece.segment.module, piece.segment.layer):
                    row = piece.offset + neuron.index
                    with torch.no_grad():
                        linear.linear.weight[row] *= factor
                        if linear.linear.bias is not None:
                            linear.linear.bias[row] *= factor


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("factor", [0.0, 2.0, 0.5])
def test_it_equals_a_model_with_edited_weights(family, factor):
    bound, edited = tiny_model(family), tiny_model(family)
    scale_rows(edited, factor)
    bare = logits(bound)
    with intervene(bound, flat(bound), factor):
        masked = logits(bound)
    torch.testing.assert_close(masked, logits(edited), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(masked, bare, atol=1e-3)


def test_generate_under_a_mask_equals_generate_with_edited_weights():
    bound, edited = tiny_model(), tiny_model()
    scale_rows(edited, 0.0)

    def continuation(of):
        return of.model.generate(
            TOKENS, attention_mask=torch.ones_like(TOKENS), max_new_tokens=8, do_sample=False, use_cache=True
        )

    with intervene(bound, flat(bound), 0.0):
        masked = continuation(bound)
    assert torch.equal(masked, continuation(edited))


def test_afterwards_the_logits_are_the_same_bits():
    bound = tiny_model()
    bare = logits(bound)
    with pytest.raises(KeyError), intervene(bound, flat(bound)):
        raise KeyError
    assert torch.equal(logits(bound), bare)


def test_nested_factors_multiply():
    bound = tiny_model()
    with intervene(bound, flat(bound), 6.0):
        expected = logits(bound)
    with intervene(bound, flat(bound), 2.0), intervene(bound, flat(bound), 3.0):
        torch.testing.assert_close(logits(bound), expected)


def test_zero_replaces_even_a_value_that_is_not_finite():
    bound = tiny_model()
    place = flat(bound)[3:4]
    with torch.no_grad():
        bound.model.model.layers[0].mlp.gate_proj.weight[0] = float("inf")
    assert not torch.isfinite(logits(bound)).all()
    with intervene(bound, place, 0.0):
        assert torch.isfinite(logits(bound)).all()


def test_factor_one_and_no_neurons_change_nothing():
    bound = tiny_model()
    bare = logits(bound)
    with intervene(bound, flat(bound), 1.0):
        assert torch.equal(logits(bound), bare)
    with intervene(bound, np.empty(0, dtype=np.int64)):
        assert torch.equal(logits(bound), bare)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_factor_that_is_not_finite_is_refused(factor):
    bound = tiny_model()
    with pytest.raises(InputError, match="not a finite number"), intervene(bound, flat(bound), factor):
        pass


def test_a_position_outside_the_layout_is_refused():
    bound = tiny_model()
    with pytest.raises(InputError, match="outside the layout"), intervene(bound, np.array([10**9])):
        pass
