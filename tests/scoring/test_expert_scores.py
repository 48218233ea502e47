"""Scores of experts' neurons against plain autograd, with the experts unrolled over all tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from culnig.core.neurons import EXPERTS_GATE, EXPERTS_IN, EXPERTS_UP
from culnig.inference.encoding import Encoder
from culnig.models.base import BoundModel
from culnig.scoring.scoring import ScoreSettings, score_benchmark
from tests.oracle import AGGREGATE, token_ids
from tests.tiny_experts import CONFIGS, bound_model, experts_of, unbound, unrolled
from tests.tiny_models import tiny_items

pytestmark = pytest.mark.processors

ITEMS = [replace(item, culture=item.id) for item in tiny_items(5, ("Spain",))]
"""Each item is a culture of its own, so the sums are the weighted scores of single items."""


def plain_scores(
    family: str, aggregator: str, edit: Callable[[Any], None] = lambda model: None
) -> dict[str, NDArray[np.float64]]:
    """P(gold) × score by item and module, (item, neuron of all layers and experts)."""
    bound = bound_model(family)
    model, seen = unbound(family), []
    edit(model)
    for experts in experts_of(model):
        experts.forward = unrolled(experts, seen)
    rows: dict[str, list[NDArray[np.float64]]] = {}
    for item in ITEMS:
        seen.clear()
        ids, gold = token_ids(bound.tokenizer, item)
        probability = model(input_ids=torch.tensor([ids])).logits[0, -1].double().softmax(-1)[gold]
        gradients = torch.autograd.grad(probability, seen)
        by_module: dict[str, list[torch.Tensor]] = {}
        for before, gradient in zip(seen, gradients, strict=True):
            score = AGGREGATE[aggregator](before.detach() * gradient).double()
            for module, part in modules_of(experts_of(model)[0], score).items():
                by_module.setdefault(module, []).append(part)
        for module, parts in by_module.items():
            rows.setdefault(module, []).append(float(probability.detach()) * torch.cat(parts).numpy())
    return {module: np.stack(own) for module, own in rows.items()}


def modules_of(experts: Any, columns: torch.Tensor) -> dict[str, torch.Tensor]:
    if not hasattr(experts, "gate_up_proj"):
        return {EXPERTS_IN: columns}
    gate, up = (
        columns.chunk(2) if getattr(experts, "is_concatenated", True) else (columns[::2], columns[1::2])
    )
    return {EXPERTS_GATE: gate, EXPERTS_UP: up}


def scores_of(bound: BoundModel, aggregator: str = "max", **settings: Any) -> dict[str, NDArray[np.float64]]:
    """The same, from the engine."""
    scores = score_benchmark(
        bound, ITEMS, "target", ScoreSettings(aggregator=aggregator, **settings), encoder=Encoder(bound)
    )
    order = [scores.moments.cultures.index(item.culture) for item in ITEMS]
    return {
        module: np.concatenate(
            [
                scores.moments.sum[order, segment.columns]
                for segment in bound.layout.segments
                if segment.module == module
            ],
            axis=1,
        )
        for module in bound.layout.modules
    }


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    largest = max(np.abs(own).max() for own in expected.values())
    for module, own in expected.items():
        np.testing.assert_allclose(found[module], own, rtol=0, atol=2e-6 * largest, err_msg=module)


@pytest.mark.parametrize("family", CONFIGS)
def test_scores_equal_plain_autograd_with_experts_unrolled(family: str) -> None:
    expected = plain_scores(family, "max")
    assert_equal(scores_of(bound_model(family)), expected)
    for own in expected.values():
        assert 0.1 < (own > 0).mean() < 0.9


@pytest.mark.parametrize("aggregator", ["sum", "mean", "last", "absmax"])
def test_other_aggregators(aggregator: str) -> None:
    assert_equal(scores_of(bound_model("qwen3_moe"), aggregator), plain_scores("qwen3_moe", aggregator))


@pytest.mark.parametrize("budget", [1, 100, 4096])
def test_scores_do_not_depend_on_batch_mates(budget: int) -> None:
    """Batches of one item, of some, and of all, padded: sorting inside a layer mixes all their tokens."""
    assert_equal(scores_of(bound_model("mixtral"), token_budget=budget), plain_scores("mixtral", "max"))


def tie_routers(model: Any) -> None:
    """Experts 1 to 3 get equal logits from every token: of them, one or two have to be chosen."""
    for module in model.modules():
        if type(module).__name__ == "MixtralTopKRouter":
            module.weight.data[2:] = module.weight.data[1]


@pytest.mark.parametrize("budget", [1, 100, 4096])
def test_ties_in_the_router_are_broken_alike_whatever_the_batch(budget: int) -> None:
    """Plain autograd takes the router's own choice, of one prompt at a time."""
    bound = bound_model("mixtral")
    tie_routers(bound.model)
    chosen: list[torch.Tensor] = []
    for experts in experts_of(bound.model):
        experts.register_forward_pre_hook(lambda module, inputs: chosen.append(inputs[1]))
    found = scores_of(bound, token_budget=budget)
    choices = torch.cat(chosen).sort(dim=1).values
    assert ((choices[:, 0] > 0).any(), (choices[:, 0] == 0).any()) == (
        True,
        True,
    )  # ties for two, and for one
    assert_equal(found, plain_scores("mixtral", "max", tie_routers))


def test_checkpointed_layers_give_the_same_bits() -> None:
    bound = bound_model("mixtral")
    settings = ScoreSettings()
    plain = score_benchmark(bound, ITEMS, "target", settings)
    checkpointed = score_benchmark(bound, ITEMS, "target", settings, gradient_checkpointing=True)
    assert plain.moments.sum.tobytes() == checkpointed.moments.sum.tobytes()


@pytest.mark.parametrize("family", ["qwen3_moe", "nemotron_h"])
def test_tokens_that_each_expert_saw_are_counted(family: str) -> None:
    """Against the router's choices for one item at a time; padded batches count real tokens only."""
    bound = bound_model(family)
    expected = []
    for item in ITEMS:
        choices: list[torch.Tensor] = []
        handles = [
            experts.register_forward_pre_hook(lambda module, inputs, seen=choices: seen.append(inputs[1]))
            for experts in experts_of(bound.model)
        ]
        bound.model(input_ids=torch.tensor([token_ids(bound.tokenizer, item)[0]]))
        for handle in handles:
            handle.remove()
        n_experts = bound.layout.segments[0].experts
        expected.append([int((own == expert).sum()) for own in choices for expert in range(n_experts)])
    scores = score_benchmark(bound, ITEMS, "target", ScoreSettings())
    np.testing.assert_array_equal(scores.outcomes.routed_tokens, expected)
    assert bound.layout.n_experts == len(expected[0])


def test_neurons_of_experts_without_tokens_are_known() -> None:
    bound = bound_model("mixtral")
    counts = np.zeros((2, 8), dtype=np.int64)
    counts[0, [0, 1, 2]] = counts[1, [4, 5, 6, 7]] = 3  # expert 3 of the first layer saw nothing
    unseen = [bound.layout.neurons(np.flatnonzero(bound.layout.unrouted(counts)))]
    assert {(n.module, n.layer, n.index // 10) for n in unseen[0]} == {
        (EXPERTS_GATE, 0, 3),
        (EXPERTS_UP, 0, 3),
    }
    assert len(unseen[0]) == 20
