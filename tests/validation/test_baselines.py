"""The baselines' statistics, item by item against the model's own tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from culnig.inference.encoding import Encoder
from culnig.items import ChosenItems
from culnig.validation.baselines import STATISTICS, baseline_runs, folder_name
from tests.tiny_models import tiny_items, tiny_model


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    bound, items = tiny_model(), tiny_items(5)
    runs = baseline_runs(
        bound, {"facts": ChosenItems("target", "identify", items)}, tmp_path_factory.mktemp("runs")
    )
    return bound, items, {name: run.moments("facts") for name, run in runs.items()}


def one_by_one(bound, item):
    """Activation and gradient of P(gold), (token, neuron), of layer 1's gate: plain autograd, no batch."""
    kept = {}
    hook = bound.model.model.layers[1].mlp.gate_proj.register_forward_hook(
        lambda module, inputs, output: kept.update(output=output)
    )
    encoded = Encoder(bound).encode(item)
    logits = bound.model(torch.tensor([encoded.token_ids])).logits[0, -1].double()
    hook.remove()
    (gradient,) = torch.autograd.grad(logits.softmax(-1)[encoded.gold_id], kept["output"])
    return kept["output"][0].detach().double().numpy(), gradient[0].double().numpy()


def test_sums_per_culture(measured):
    bound, items, tables = measured
    columns = bound.layout.segment("mlp.gate_proj", 1).columns
    expected = {name: np.zeros((3, 40)) for name in STATISTICS}
    cultures = list(dict.fromkeys(item.culture for item in items))
    for item in items:
        activation, gradient = one_by_one(bound, item)
        row = cultures.index(item.culture)
        expected["mean |activation|"][row] += np.abs(activation).mean(axis=0)
        expected["share of activations > 0"][row] += (activation > 0).mean(axis=0)
        expected["gradient norm"][row] += np.sqrt((gradient**2).sum(axis=0))
    for name, table in tables.items():
        assert table.cultures == tuple(cultures)
        assert table.n_items.tolist() == [2, 2, 1]
        np.testing.assert_allclose(table.sum[:, columns], expected[name], rtol=1e-3, atol=1e-7)


def test_every_statistic_has_a_folder_of_its_own():
    assert len({folder_name(name) for name in STATISTICS}) == len(STATISTICS)
    assert folder_name("mean |activation|") == "mean-activation"
