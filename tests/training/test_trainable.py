"""Exactly the planned weights change, in every family, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from culnig.core.neurons import MLP_GATE, Neuron
from culnig.errors import InputError, MismatchError
from culnig.training.plan import PlanSettings, make_plan
from culnig.training.settings import TrainSettings
from culnig.training.trainable import lora_weights, planned_weights
from tests.tiny_models import ALL_CONFIGS, tiny_model
from tests.training.chosen import neuron_set, random_set
from tests.training.runs import plan_of, run, weights_of

# peft asks transformers under names that transformers is about to drop
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")


def changed_elements(bound, before):
    """A mask of what differs, by parameter; only parameters in which anything does."""
    found = {name: before[name] != p.detach() for name, p in bound.model.named_parameters()}
    return {name: mask for name, mask in found.items() if bool(mask.any())}


def planned_elements(plan):
    """What the plan says, as masks, by plain numpy indexing."""
    masks = {}
    for part in plan.train:
        mask = np.zeros(part.shape, dtype=bool)
        if part.indices is None:
            mask[...] = True
        elif part.axis == 0:
            mask[part.indices] = True
        else:
            mask[:, part.indices] = True
        masks[part.parameter] = mask
    return masks


@pytest.mark.parametrize("family", ALL_CONFIGS)
@pytest.mark.parametrize(
    "settings",
    [{}, {"granularity": "module"}, {"granularity": "layer", "budget": 1.0, "keep_neurons": True}],
    ids=["mlp", "module", "everything but the neurons"],
)
def test_training_changes_what_is_planned_and_no_other_bit(family, settings, tmp_path):
    bound = tiny_model(family)
    plan = plan_of(bound, **settings)
    before = weights_of(bound)
    trained = run(bound, plan, tmp_path / "t", max_steps=1)
    assert trained.n_trainable == plan.n_trainable
    changed, planned = changed_elements(bound, before), planned_elements(plan)
    assert set(changed) == set(planned)
    for name, mask in planned.items():
        assert not (changed[name].numpy() & ~mask).any()
        # a gradient may be exactly zero here and there, but not along whole rows
        assert changed[name].numpy()[mask].mean() > 0.5
        for axis in range(mask.ndim):
            others = tuple(other for other in range(mask.ndim) if other != axis)
            reached, wanted = changed[name].numpy().any(axis=others), mask.any(axis=others)
            assert reached[wanted].mean() > 0.9
    assert all(p.requires_grad for p in bound.model.parameters())
    assert not bound.model.training


def test_masked_rows_stay_and_all_others_move(tmp_path):
    bound = tiny_model("phi3")
    kept = [Neuron(MLP_GATE, 1, index) for index in (0, 7, 39)]
    plan = make_plan(bound, neuron_set(bound, kept), PlanSettings(budget=0.12, keep_neurons=True))
    before = weights_of(bound)
    run(bound, plan, tmp_path / "t")
    gate_up = bound.model.model.layers[1].mlp.gate_up_proj.weight.detach()
    down = bound.model.model.layers[1].mlp.down_proj.weight.detach()
    moved = (gate_up != before["model.layers.1.mlp.gate_up_proj.weight"]).any(dim=1)
    left = [*(0, 7, 39), *(40, 47, 79)]  # gate rows, then up rows
    assert torch.nonzero(~moved).flatten().tolist() == left
    moved = (down != before["model.layers.1.mlp.down_proj.weight"]).any(dim=0)
    assert torch.nonzero(~moved).flatten().tolist() == [0, 7, 39]


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt2"])
def test_lora_changes_the_planned_linears_alone(family, tmp_path):
    bound = tiny_model(family)
    plan = plan_of(bound)
    before = weights_of(bound)
    trained = run(bound, plan, tmp_path / "t", lora_rank=2)
    weights = {f"{name}.weight" for name in plan.linears}
    assert set(changed_elements(bound, before)) == weights
    sizes = [sum(before[name].shape) for name in weights]
    assert trained.n_trainable == 2 * sum(sizes)  # rank · (inputs + outputs)
    assert [name for name, _ in bound.model.named_parameters()] == list(before)


def test_lora_refuses_rows():
    bound = tiny_model("phi3")
    for settings in ({"keep_neurons": True}, {"granularity": "module"}):
        plan = plan_of(bound, **settings)
        with (
            pytest.raises(
                InputError, match="LoRA changes whole linear modules, but the plan trains only rows of"
            ),
            lora_weights(bound, plan, TrainSettings(lora_rank=2)),
        ):
            pass


def test_another_number_of_parameters_is_refused():
    bound = tiny_model()
    plan = plan_of(bound)
    twice = type(plan)(**{**vars(plan), "train": (*plan.train, plan.train[0])})
    wanted = "the plan trains 6,720 parameters, but 'tiny-llama' has 5,760 of them"
    with pytest.raises(MismatchError, match=wanted), planned_weights(bound, twice):
        pass
    assert all(p.requires_grad for p in bound.model.parameters())


def test_half_precision_weights_are_trained_in_float32_and_go_back(tmp_path):
    bound = tiny_model(dtype=torch.bfloat16)
    plan = plan_of(bound, keep_neurons=True)
    before = weights_of(bound)
    seen = {}

    def look(done, total):
        seen.update({name: p.dtype for name, p in bound.model.named_parameters()})

    run(bound, plan, tmp_path / "t", more={"progress": look}, learning_rate=1e-2)
    assert {n for n, dtype in seen.items() if dtype == torch.float32} == {p.parameter for p in plan.train}
    assert {p.dtype for p in bound.model.parameters()} == {torch.bfloat16}
    changed, planned = changed_elements(bound, before), planned_elements(plan)
    assert set(changed) == set(planned)
    assert not any((changed[name].numpy() & ~mask).any() for name, mask in planned.items())
    float16 = tiny_model(dtype=torch.float16)
    with pytest.raises(InputError, match="float16 weights cannot be trained"):
        run(float16, plan_of(float16), tmp_path / "other")


def test_gradient_checkpointing_is_undone_and_gives_the_same(tmp_path):
    plain, saving = tiny_model(), tiny_model()
    run(plain, plan_of(plain), tmp_path / "a")
    run(saving, plan_of(saving), tmp_path / "b", gradient_checkpointing=True)
    for one, other in zip(plain.model.parameters(), saving.model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert not saving.model.is_activation_checkpointing


def test_a_set_of_random_neurons_never_repeats_a_row():
    plan = plan_of(tiny_model("gpt_neox"), granularity="module")
    for part in plan.train:
        if part.indices is not None:
            assert len(np.unique(part.indices)) == len(part.indices)
    assert len(random_set(tiny_model()).neurons) == 20
