"""LAPE against its definition, neuron by neuron, and on a tiny model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from culnig.benchmarks.base import ChosenItems

from culnig import registry
from culnig.core.neurons import MLP_GATE, Layout
from culnig.errors import SelectionError
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.selection.lape import SCORER, ActivationShares, LapeSettings, activation_shares, select_lape
from culnig.store.run import Run
from tests.tiny_models import tiny_items, tiny_model


def shares_of(p):
    p = np.array(p, dtype=float)
    layout = Layout.from_widths([(0, MLP_GATE, p.shape[1])])
    cultures = tuple(f"c{row}" for row in range(len(p)))
    return ActivationShares(layout, cultures, p, "toy", {"scores_hash": "0" * 64})


def by_definition(p, top, percentile):
    """Indices of each group by loops over neurons and groups."""
    n_groups, n_neurons = p.shape
    threshold = np.percentile(p.ravel(), percentile)
    entropy = {}
    for neuron in range(n_neurons):
        if not any(p[group, neuron] > threshold for group in range(n_groups)):
            continue
        total = math.fsum(p[:, neuron])
        shares = [p[group, neuron] / total for group in range(n_groups)]
        entropy[neuron] = -math.fsum(share * math.log(share) for share in shares if share > 0)
    kept = sorted(entropy, key=lambda neuron: (entropy[neuron], neuron))[: int(top * n_neurons)]
    return [[n for n in kept if p[group, n] > threshold] for group in range(n_groups)]


@pytest.mark.parametrize("seed", range(5))
def test_sets_are_those_of_the_definition(seed):
    p = np.random.default_rng(seed).beta(0.4, 2, size=(4, 200))
    sets = select_lape(shares_of(p), LapeSettings(top=0.1, percentile=90))
    expected = by_definition(p, 0.1, 90)
    for chosen, neurons in zip(sets.values(), expected, strict=True):
        assert [neuron.index for neuron in chosen.neurons] == neurons
    assert sum(map(len, expected)) > 0


def test_a_hand_computed_table():
    #     always on   only for c1   rarely    never
    p = [[0.9, 0.0, 0.001, 0.0], [0.9, 0.8, 0.001, 0.0]]
    sets = select_lape(shares_of(p), LapeSettings(top=0.5, percentile=50))
    assert [n.index for n in sets["c0"].neurons] == [0]
    assert [n.index for n in sets["c1"].neurons] == [1, 0]  # entropies 0 and log 2
    np.testing.assert_allclose(sets["c1"].scores, [0, -math.log(2)])


def test_shares_are_those_of_the_tokens_of_each_culture(tmp_path):
    bound, items = tiny_model(), tiny_items(12)
    run = score_run(
        bound,
        {"toy": ChosenItems("target", "identify", items)},
        ScoreSettings(token_budget=300),
        tmp_path / "run",
        how=RunSettings(scorers=(registry.scorer(SCORER),)),
    )
    found = activation_shares(Run(run.folder, SCORER))
    gate = bound.model.model.layers[1].mlp.gate_proj
    seen = {}
    handle = gate.register_forward_hook(lambda module, inputs, output: seen.update(now=output.detach()))
    on, tokens = np.zeros((3, 40)), np.zeros(3)
    for item in items:
        chat = bound.tokenizer.apply_chat_template(
            [{"role": "user", "content": item.prompt}], tokenize=False, add_generation_prompt=True
        )
        ids = torch.tensor([bound.tokenizer.encode(chat + item.answer_prefix, add_special_tokens=False)])
        with torch.no_grad():
            bound.model(ids)
        row = found.cultures.index(item.culture)
        on[row] += (torch.nn.functional.silu(seen["now"][0]) > 0).sum(0).numpy()
        tokens[row] += ids.shape[1]
    handle.remove()
    columns = run.layout.segment(MLP_GATE, 1).columns
    np.testing.assert_allclose(found.shares[:, columns], on / tokens[:, None], atol=1e-12)


@pytest.mark.parametrize(
    ("p", "settings", "message"),
    [
        ([[0.5, 0.2]], {}, "compares cultures and there is one"),
        ([[0.5, 0.2], [0.1, 0.1]], {"percentile": 100}, "percentile is 100"),
        ([[0.5, 0.5], [0.5, 0.5]], {}, "no neuron of pool 'mlp' is on more often"),
        ([[0.5, 0.2], [0.1, 0.1]], {"top": -0.1}, "top"),
    ],
)
def test_what_cannot_be_selected(p, settings, message):
    with pytest.raises(SelectionError, match=message):
        select_lape(shares_of(p), LapeSettings(**settings))
