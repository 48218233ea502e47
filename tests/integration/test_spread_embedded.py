"""The embedded model spread over two processes: the numbers and neurons of one, and half of it in each."""

from __future__ import annotations

import numpy as np
import pytest

import culnig
from culnig.models import loading
from culnig.store.run import Run
from tests.forked import import_what
from tests.spread import on_ranks

BENCHMARKS = ["everyday", "everyday-control"]


def scored(folder, **loading):
    """Score a few items; the model's hash, and how many of its parameters this process holds of how many."""
    bound = culnig.load_model("embedded", dtype="float32", **loading)
    cultures = ["China", "Iran", "Spain"]
    culnig.score(bound, BENCHMARKS, folder, cultures=cultures, per_culture=1, token_budget=400, check=False)
    parameters = [getattr(own, "_local_tensor", own).numel() for own in bound.model.parameters()]
    return bound.weights_hash, sum(parameters), sum(own.numel() for own in bound.model.parameters())


def selected(folder):
    """The sets that are selected from a run."""
    general = culnig.select_general(folder, exclusion=False)
    specific = culnig.select_specific(folder, "China", exclusion=False)
    return general.neurons, specific.neurons


@pytest.mark.slow
def test_the_embedded_model_has_the_sums_and_neurons_of_one_process(tmp_path, monkeypatch):
    # to clear pages again and again takes as long as what is computed; there is memory enough here
    monkeypatch.setattr(loading, "return_large_blocks", lambda: None)
    alone = import_what(lambda: scored(tmp_path / "alone"), seconds=300)
    of_two = on_ranks(2, lambda rank: scored(tmp_path / "spread", fsdp=True), seconds=300)
    for weights_hash, n_held, n_parameters in of_two:
        assert weights_hash == alone[0]
        assert n_parameters == alone[2]
        assert n_held <= n_parameters / 2 * 1.01
    assert sum(n_held for _, n_held, _ in of_two) == alone[1] == alone[2]
    one, other = Run(tmp_path / "alone"), Run(tmp_path / "spread")
    for name in BENCHMARKS:
        np.testing.assert_allclose(other.moments(name).sum, one.moments(name).sum, rtol=1e-6)
        np.testing.assert_array_equal(other.moments(name).positive_count, one.moments(name).positive_count)
    assert selected(tmp_path / "spread") == selected(tmp_path / "alone")
