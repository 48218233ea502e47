"""Units in order, and what fits a budget."""

from __future__ import annotations

import numpy as np
import pytest

from culnig.core.neurons import MLP_GATE, QUERY, VALUE, Neuron
from culnig.errors import InputError, MismatchError, SelectionError
from culnig.training.ranking import Unit, ranked, units, within_budget
from culnig.training.weights import Weights
from tests.tiny_models import tiny_model
from tests.training.chosen import neuron_set

BY_HAND = [
    (Neuron(MLP_GATE, 0, 1), 5.0),
    (Neuron(MLP_GATE, 0, 2), 0.5),
    (Neuron(MLP_GATE, 2, 1), 3.0),
    (Neuron(MLP_GATE, 2, 7), 3.0),
    (Neuron(QUERY, 1, 0), 9.0),
    (Neuron(VALUE, 1, 0), 1.0),
]


def found(granularity, bound=None):
    bound = bound or tiny_model()
    chosen = neuron_set(bound, [neuron for neuron, _ in BY_HAND], [score for _, score in BY_HAND])
    return units(bound, Weights(bound), chosen, granularity)


def places(those):
    return [(unit.name, unit.layer) for unit in those]


def test_units_hold_the_neurons_of_their_modules():
    assert [(u.name, u.layer, u.n_neurons, u.score) for u in found("mlp")] == [
        *(("mlp", 0, 2, 5.5), ("mlp", 1, 0, 0.0), ("mlp", 2, 2, 6.0))
    ]
    assert [(u.layer, u.n_neurons, u.score) for u in found("layer")] == [
        (0, 2, 5.5),
        (1, 2, 10.0),
        (2, 2, 6.0),
    ]
    modules = {(u.name, u.layer): u for u in found("module")}
    assert (modules[QUERY, 1].n_neurons, modules[QUERY, 1].score) == (1, 9.0)
    assert len(modules) == 12  # q, k, v and gate of three layers: nothing is selected from up_proj


def test_a_module_that_the_set_reaches_is_ranked():
    bound = tiny_model()
    chosen = neuron_set(bound, [Neuron("mlp.up_proj", 0, 0)])
    assert {u.name for u in units(bound, Weights(bound), chosen, "module")} == {*bound.layout.modules}


def test_sizes_are_those_of_the_model():
    bound = tiny_model()  # 24 wide, 40 in the MLP, 4 heads and 2 key-value heads of 6
    assert {u.n_parameters for u in found("mlp", bound)} == {3 * 24 * 40}
    assert {(u.name.rpartition(".")[2], u.n_parameters) for u in found("module", bound)} == {
        *(("q_proj", 576), ("k_proj", 288), ("v_proj", 288), ("gate_proj", 960))
    }
    # attention 576 + 2 · 288 + 576, MLP, and two norms
    assert {u.n_parameters for u in found("layer", bound)} == {1728 + 2880 + 48}


def test_count_and_score_break_each_others_ties():
    those = found("mlp")
    assert places(ranked(those, "top")) == [("mlp", 2), ("mlp", 0), ("mlp", 1)]
    assert places(ranked(found("layer"), "top")) == [("layer", 1), ("layer", 2), ("layer", 0)]
    single = [Unit("a", 0, 3, 1.0, 1, ()), Unit("b", 0, 1, 7.0, 1, ()), Unit("c", 0, 2, 7.0, 1, ())]
    assert [u.name for u in ranked(single, "top")] == ["a", "c", "b"]
    assert [u.name for u in ranked(single, "top", "score")] == ["c", "b", "a"]


def test_bottom_is_the_ranking_from_its_end():
    for granularity in ("mlp", "module", "layer"):
        those = found(granularity)
        assert ranked(those, "bottom") == ranked(those, "top")[::-1]


def test_random_is_decided_by_its_seed_alone():
    those = found("module")
    first, again, other = (places(ranked(those, "random", seed=seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert sorted(first) == sorted(places(those))


def test_a_budget_is_filled_in_order_and_never_exceeded():
    order = [Unit(name, 0, 0, 0.0, size, ()) for name, size in (("a", 50), ("b", 60), ("c", 30), ("d", 20))]
    for budget in np.linspace(0.02, 1, 50):
        taken = within_budget(order, budget, 1000)
        left = budget * 1000
        for unit in order:  # each one that is not taken did not fit any more
            if unit in taken:
                left -= unit.n_parameters
            else:
                assert unit.n_parameters > left
        assert left >= 0


def test_a_budget_that_fits_nothing_names_the_smallest_unit():
    with pytest.raises(SelectionError, match=r"0\.1 % .*fits nothing.*k_proj of layer 0, has 288 \(\d"):
        within_budget(found("module"), 0.001, 26_472)


@pytest.mark.parametrize("budget", [0, -1, 1.01, float("nan")])
def test_a_budget_is_a_share(budget):
    with pytest.raises(InputError, match=r"not a share of the parameters; give one within \(0, 1\]"):
        within_budget(found("mlp"), budget, 1000)


def test_another_models_set_is_refused():
    chosen = neuron_set(tiny_model("phi3"), [Neuron(MLP_GATE, 0, 0)])
    bound = tiny_model("falcon3")
    with pytest.raises(MismatchError, match="was made for 'tiny-phi3'"):
        units(bound, Weights(bound), chosen, "mlp")
    with pytest.raises(InputError, match="unknown granularity 'head'; choose mlp, module, layer"):
        units(bound, Weights(bound), chosen, "head")
    with pytest.raises(InputError, match="unknown direction 'up'"):
        ranked(found("mlp"), "up")
    with pytest.raises(InputError, match="cannot be ranked by 'z'"):
        ranked(found("mlp"), "top", "z")


def test_a_whole_budget_takes_all_and_a_unit_may_fill_it_exactly():
    order = [Unit(name, 0, 0, 0.0, size, ()) for name, size in (("a", 50), ("b", 60), ("c", 40))]
    assert [unit.name for unit in within_budget(order, 1, 150)] == ["a", "b", "c"]
    assert [unit.name for unit in within_budget(order, 0.6, 150)] == ["a", "c"]  # 90: 50 and 40
    assert [unit.name for unit in within_budget(order, 0.59, 150)] == ["a"]
    assert ranked(order, "random") == ranked(order, "random", seed=0) != order
