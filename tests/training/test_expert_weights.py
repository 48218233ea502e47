"""Weights of experts: which belong to what, and that training changes them as plain torch would."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from culnig import registry
from culnig.core.neurons import EXPERTS_GATE, EXPERTS_IN, EXPERTS_UP, SHARED_GATE, Neuron
from culnig.errors import InputError
from culnig.inference.encoding import Encoder
from culnig.models.base import BoundModel, bind_model
from culnig.models.intervention import intervene
from culnig.training.drift import relative_change
from culnig.training.plan import PlanSettings, make_plan
from culnig.training.plan_file import read_plan
from culnig.training.settings import TrainSettings
from culnig.training.trainable import lora_weights
from culnig.training.weights import Part, Weights
from tests.tiny_experts import CONFIGS, experts_of, shared_experts_model, unbound, unrolled
from tests.tiny_models import byte_tokenizer, tiny_items
from tests.training.chosen import neuron_set
from tests.training.runs import run, weights_of

WIDTH = 10
TOKENS = torch.arange(40, 76).reshape(2, 18)


def tiny(family: str) -> BoundModel:
    return bind_model(f"tiny-{family}", unbound(family), byte_tokenizer(), registry.adapters())


def some_of(bound: BoundModel) -> list[Neuron]:
    """Neurons of several experts of the first layer that has some."""
    gate = EXPERTS_GATE if EXPERTS_GATE in bound.layout.modules else EXPERTS_IN
    layer = next(own.layer for own in bound.layout.segments if own.module == gate)
    return [Neuron(gate, layer, expert * WIDTH + index) for expert, index in ((0, 3), (1, 0), (1, 9), (3, 4))]


def logits(bound: BoundModel) -> torch.Tensor:
    with torch.no_grad():
        return bound.model(input_ids=TOKENS).logits


def fill(bound: BoundModel, part: Part, value: float) -> None:
    """Write a value over rows of a 3-D parameter, one expert and row after the other."""
    parameter = bound.model.get_parameter(part.parameter)
    size = part.shape[part.axis]
    with torch.no_grad():
        for place in part.indices.tolist():
            parameter[place // size].select(part.axis - 1, place % size).fill_(value)


@pytest.mark.parametrize("family", CONFIGS)
def test_a_suppressed_neuron_does_not_feel_its_own_weights(family: str) -> None:
    bound = tiny(family)
    flat = neuron_set(bound, some_of(bound)).flat(bound.layout)
    owned = Weights(bound).of_neurons(flat)
    names = sorted({rows.part.parameter.rpartition(".")[2] for rows in owned})
    first = ["up_proj"] if family == "nemotron_h" else ["gate_up_proj"]
    if family == "gpt_oss":
        first += ["gate_up_proj_bias"]
    assert names == sorted(["down_proj", *first])
    unmasked = logits(bound)
    with intervene(bound, flat):
        before = logits(bound)
        for rows in owned:
            fill(bound, rows.part, 0.7)
        assert torch.equal(logits(bound), before)
    assert not torch.equal(logits(bound), unmasked)  # unmasked, it does


@pytest.mark.parametrize("family", CONFIGS)
def test_without_its_weights_a_module_of_experts_is_silent_and_no_other_changes(family: str) -> None:
    layout = tiny(family).layout
    layer = layout.segments[-1].layer
    modules = [own.module for own in layout.segments if own.layer == layer and own.experts > 1]
    for module in modules:
        bound = tiny(family)
        (held,) = [
            linear
            for linear in bound.linears
            if {(module, layer)} & {(s.segment.module, s.segment.layer) for s in linear.slices}
        ]

        def seen(bound: BoundModel = bound, held=held) -> dict[str, torch.Tensor]:
            kept: dict[str, torch.Tensor] = {}

            def keep(linear: torch.nn.Module, inputs: object, rows: torch.Tensor) -> None:
                kept.update({own.segment.module: own.take_rows(rows).clone() for own in held.slices})

            handle = held.linear.register_forward_hook(keep)
            logits(bound)
            handle.remove()
            return kept

        before = seen()
        for part in Weights(bound).module(module, layer):
            fill(bound, part, 0.0)
        after = seen()
        assert after[module].abs().max() == 0
        assert before[module].abs().max() > 0
        for other in set(modules) - {module}:
            assert torch.equal(before[other], after[other])


def test_parameters_are_counted_by_hand() -> None:
    """Mixtral: 4 experts of 10 neurons over 24 hidden; gpt-oss has a bias for each neuron too."""
    for family, each in (("mixtral", 24), ("gpt_oss", 25)):
        bound = tiny(family)
        weights = Weights(bound)
        for module in (EXPERTS_GATE, EXPERTS_UP):
            assert sum(part.n_parameters for part in weights.module(module, 1)) == 4 * WIDTH * each
        plan = make_plan(bound, neuron_set(bound, some_of(bound)), PlanSettings(0.1, granularity="module"))
        assert plan.n_trainable == sum(unit["parameters"] for unit in plan.chosen)
        sizes = {unit["unit"]: unit["parameters"] for unit in plan.ranking}
        assert sizes[EXPERTS_GATE] == 4 * WIDTH * each
        assert plan.chosen[0]["unit"] == EXPERTS_GATE


def gradients_of_plain_torch(family: str, encoded: list) -> dict[str, torch.Tensor]:
    """Mean −log P(gold) of the items, with every expert unrolled over all tokens, by plain autograd."""
    model = unbound(family)
    for experts in experts_of(model):
        experts.forward = unrolled(experts, [])
    losses = [
        -model(input_ids=torch.tensor([item.token_ids])).logits[0, -1].log_softmax(-1)[item.gold_id]
        for item in encoded
    ]
    torch.stack(losses).mean().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("family", ["mixtral", "gpt_oss"])
@pytest.mark.parametrize("keep_neurons", [False, True])
def test_a_step_is_that_of_plain_torch_in_the_planned_rows_and_none_elsewhere(
    family: str, keep_neurons: bool, tmp_path
) -> None:
    """AdamW's first step is −rate · g / (|g| + ε): compared where the gradient is clearly above ε."""
    bound = tiny(family)
    budget = 0.06 if keep_neurons else 0.05
    settings = PlanSettings(budget, granularity="module", keep_neurons=keep_neurons)
    plan = make_plan(bound, neuron_set(bound, some_of(bound)), settings)
    assert {unit["unit"] for unit in plan.chosen} >= {EXPERTS_GATE}
    plan.write(tmp_path / "plan.yaml")
    assert read_plan(tmp_path / "plan.yaml").document() == plan.document()
    before = weights_of(bound)
    encoded = Encoder(bound).encode_all(tiny_items(24))
    size = {"batch_size": 24, "accumulation": 1, "max_steps": 1, "learning_rate": 1e-3}
    run(bound, plan, tmp_path / "t", **size)
    gradients = gradients_of_plain_torch(family, encoded)
    taught = 0
    for name, parameter in bound.model.named_parameters():
        change = parameter.detach() - before[name]
        wanted = torch.zeros_like(change, dtype=torch.bool)
        for part in (part for part in plan.train if part.parameter == name):
            wanted |= torch.from_numpy(rows_by_hand(part))
        assert not change[~wanted].any(), name
        clear = wanted & (gradients[name].abs() > 1e-5)
        expected = -1e-3 * gradients[name][clear].sign()
        torch.testing.assert_close(change[clear], expected, rtol=2e-3, atol=2e-7)
        taught += int(clear.sum())
    assert taught > 100
    if keep_neurons:
        flat = plan.neurons.flat(bound.layout)
        assert not relative_change(bound, before, flat).any()


def rows_by_hand(part: Part) -> np.ndarray:
    mask = np.zeros(part.shape, dtype=bool)
    if part.indices is None:
        mask[...] = True
        return mask
    for place in part.indices.tolist():
        expert, row = divmod(place, part.shape[part.axis])
        if not part.by_expert:
            mask[(slice(None),) * part.axis + (place,)] = True
        elif part.axis == 1:
            mask[expert, row] = True
        else:
            mask[expert, :, row] = True
    return mask


def test_shared_experts_beside_routed_ones_have_their_own_weights() -> None:
    """Both have 40 neurons in all, so widths alone would not tell them apart."""
    bound = shared_experts_model()
    for module, path in ((SHARED_GATE, "shared_experts"), (EXPERTS_GATE, "experts")):
        flat = np.array([bound.layout.flat(Neuron(module, 1, 7))])
        names = {rows.part.parameter for rows in Weights(bound).of_neurons(flat)}
        assert {name.removeprefix("model.layers.1.mlp.").partition(".")[0] for name in names} == {path}
        assert {name.rpartition("mlp.")[2] for name in names} == (
            {f"{path}.{name}_proj.weight" for name in ("gate", "up", "down")}
            if module == SHARED_GATE
            else {"experts.gate_up_proj", "experts.down_proj"}
        )


def test_lora_refuses_experts() -> None:
    bound = tiny("mixtral")
    plan = make_plan(bound, neuron_set(bound, some_of(bound)), PlanSettings(0.5, granularity="layer"))
    with (
        pytest.raises(InputError, match=r"LoRA changes linear modules, and the experts of model\.layers"),
        lora_weights(bound, plan, TrainSettings(lora_rank=2)),
    ):
        pass
