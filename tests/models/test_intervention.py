"""Masking is exactly zeroing the weight row, and is exactly undone."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from culnig.core.neurons import Neuron
from culnig.errors import InputError
from culnig.models.intervention import Resample, Scale, SetTo, intervene
from tests.edited_weights import scale_weights, set_bias
from tests.tiny_models import ALL_CONFIGS, tiny_model
from tests.tolerances import assert_values_equal, values_equal

# three layers, in every family
NEURONS = [
    Neuron("self_attn.q_proj", 0, 3),
    Neuron("self_attn.k_proj", 1, 2),
    Neuron("self_attn.v_proj", 2, 7),
]
TOKENS = torch.tensor([[5, 40, 77, 12, 9], [33, 6, 250, 8, 100]])


def logits(bound):
    with torch.no_grad():
        return bound.model(input_ids=TOKENS).logits


def neurons_of(bound):
    """Five neurons, whatever the MLP is called."""
    mlp = "mlp.fc_in" if any(one.module == "mlp.fc_in" for one in bound.layout.segments) else "mlp.gate_proj"
    return [*NEURONS, Neuron(mlp, 0, 0), Neuron(mlp, 2, 39)]


def flat(bound, neurons=None):
    return np.array([bound.layout.flat(neuron) for neuron in neurons or neurons_of(bound)])


def scale_rows(bound, factor):
    for neuron in neurons_of(bound):
        scale_weights(bound.model, neuron, factor)


@pytest.mark.parametrize("family", ALL_CONFIGS)
@pytest.mark.parametrize("factor", [0.0, 2.0, 0.5])
def test_it_equals_a_model_with_edited_weights(family, factor):
    bound, edited = tiny_model(family), tiny_model(family)
    scale_rows(edited, factor)
    bare = logits(bound)
    with intervene(bound, flat(bound), factor):
        masked = logits(bound)
    assert_values_equal(masked, logits(edited))
    assert not values_equal(masked, bare)
    assert torch.equal(logits(bound), bare)


@pytest.mark.parametrize("family", ALL_CONFIGS)
def test_every_module_of_every_layer_equals_one_with_edited_weights(family):
    """First, last and a middle neuron of each module of each layer, all biases of some size."""
    bound, edited = tiny_model(family), tiny_model(family)
    for model in (bound.model, edited.model):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter += 0.3
    bare = logits(bound)
    for segment in bound.layout.segments:
        indices = dict.fromkeys((0, segment.width // 2 + 1, segment.width - 1))
        neurons = [Neuron(segment.module, segment.layer, index) for index in indices]
        kept = deepcopy(edited.model.state_dict())
        for neuron in neurons:
            scale_weights(edited.model, neuron, 0.0)
        with intervene(bound, flat(bound, neurons)):
            masked = logits(bound)
        assert_values_equal(masked, logits(edited))
        assert not values_equal(masked, bare), segment
        edited.model.load_state_dict(kept)
    assert torch.equal(logits(bound), bare)


@pytest.mark.parametrize(
    "family", ["llama", "qwen2", "phi3", "gemma3", "gemma3_multimodal", "gpt2", "gpt_neox"]
)
@pytest.mark.parametrize("factor", [0.0, 2.0])
def test_generate_under_a_mask_equals_generate_with_edited_weights(family, factor):
    bound, edited = tiny_model(family), tiny_model(family)
    scale_rows(edited, factor)

    def continuation(of):
        written = of.model.generate(
            TOKENS,
            attention_mask=torch.ones_like(TOKENS),
            max_new_tokens=8,
            do_sample=False,
            use_cache=True,
            eos_token_id=None,
            output_logits=True,
            return_dict_in_generate=True,
        )
        return written.sequences, torch.stack(written.logits)

    before = continuation(bound)
    with intervene(bound, flat(bound), factor):
        tokens, masked = continuation(bound)
    expected_tokens, expected = continuation(edited)
    assert tokens.shape == (2, TOKENS.shape[1] + 8)
    assert torch.equal(tokens, expected_tokens)
    assert_values_equal(masked, expected)
    assert not values_equal(masked[0], before[1][0])
    for now, then in zip(continuation(bound), before, strict=True):
        assert torch.equal(now, then)


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
        assert_values_equal(logits(bound), expected)


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


# changes other than a factor


def output_of(bound, linear):
    """What a linear gave in one forward pass, after every other hook."""
    seen = []
    handle = linear.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    logits(bound)
    handle.remove()
    return seen[0]


def hooked_columns(bound, neuron):
    """Activations of a neuron, (item, token), read behind every other hook."""
    for linear in bound.linears:
        for piece in linear.slices:
            if (neuron.module, neuron.layer) == (piece.segment.module, piece.segment.layer):
                column = int(piece.columns(np.array([neuron.index]))[0])
                return output_of(bound, linear.linear)[..., column]
    raise AssertionError(neuron)


def set_rows(bound, values):
    """Edit the weights instead: weight row 0, bias the value."""
    for neuron, value in zip(neurons_of(bound), values, strict=True):
        set_bias(bound.model, neuron, value)


@pytest.mark.parametrize("family", ALL_CONFIGS)
def test_set_values_equal_a_model_with_these_biases_and_no_weights(family):
    bound, edited = tiny_model(family), tiny_model(family)
    values = np.array([0.5, -1.0, 2.0, 0.25, -0.125])
    set_rows(edited, values)
    with intervene(bound, SetTo(flat(bound), values)):
        masked = logits(bound)
    assert_values_equal(masked, logits(edited))


def test_resampling_from_given_values_gives_an_item_one_row_at_all_its_tokens():
    bound = tiny_model("phi3")
    values = np.arange(1, 11, dtype=float).reshape(2, 5)
    with intervene(bound, Resample(flat(bound), values, seed=3)):
        seen = torch.stack([hooked_columns(bound, neuron) for neuron in neurons_of(bound)], dim=-1)
    assert torch.equal(seen, seen[:, :1].expand(seen.shape))
    for row in seen[:, 0].double().tolist():
        assert row in values.tolist()


def test_resampling_from_the_batch_takes_the_values_of_another_item():
    bound = tiny_model()
    first = NEURONS[0]  # layer 0: its input, and so its activation, does not depend on other neurons
    before = hooked_columns(bound, first)
    with intervene(bound, Resample(np.array([bound.layout.flat(first)]))):
        after = hooked_columns(bound, first)
    assert torch.equal(after, before.flip(0))


def test_resampling_within_a_batch_of_one_is_refused():
    bound = tiny_model()
    with (
        pytest.raises(InputError, match="no other item to resample from"),
        intervene(bound, Resample(flat(bound))),
    ):
        bound.model(input_ids=TOKENS[:1])
    assert logits(bound).isfinite().all()


def test_several_changes_are_made_in_their_order_by_one_hook_per_linear():
    bound, edited = tiny_model("phi3"), tiny_model("phi3")
    positions = flat(bound)
    values = np.array([0.5, -1.0, 2.0, 0.25, -0.125])
    set_rows(edited, 3 * values)
    with intervene(bound, [SetTo(positions, values), Scale(positions[2:], 3.0), Scale(positions[:2], 3.0)]):
        hooks = [len(linear.linear._forward_hooks) for linear in bound.linears]
        masked = logits(bound)
    assert max(hooks) == 1
    assert_values_equal(masked, logits(edited))
    assert sum(len(linear.linear._forward_hooks) for linear in bound.linears) == 0


def test_gradients_pass_through_a_change_as_through_edited_weights():
    bound, edited = tiny_model(), tiny_model()
    scale_rows(edited, 0.5)

    def gradient(of):
        embedded = of.model.get_input_embeddings()(TOKENS).detach().requires_grad_(True)
        of.model(inputs_embeds=embedded).logits[:, -1, 7].sum().backward()
        return embedded.grad

    with intervene(bound, flat(bound), 0.5):
        changed = gradient(bound)
    assert_values_equal(changed, gradient(edited))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: SetTo(f, np.zeros(4)), r"values of shape \(4,\) do not fit 5 neurons"),
        (lambda f: Resample(f, np.zeros(5)), r"expected \(sample, neuron\)"),
        (lambda f: Resample(f, np.zeros((0, 5))), "do not fit 5 neurons"),
        (lambda f: SetTo(f, np.full(5, np.nan)), "not finite"),
        (lambda f: Scale(np.append(f, f[0])), "listed twice"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(change, message):
    bound = tiny_model()
    with pytest.raises(InputError, match=message), intervene(bound, change(flat(bound))):
        pass


def test_several_sets_are_masked_at_once():
    bound, edited = tiny_model(), tiny_model()
    positions = flat(bound)
    scale_rows(edited, 0.0)
    with intervene(bound, [positions[:3], positions[2:]], factor=0):
        assert_values_equal(logits(bound), logits(edited))


def test_a_file_that_is_not_a_set_is_refused():
    bound = tiny_model()
    with pytest.raises(InputError, match="not a neuron set"), intervene(bound, [3, 4]):
        pass
