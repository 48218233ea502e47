"""What scorers cost."""

from __future__ import annotations

from culnig import registry
from culnig.validation.costs import measure_cost, n_passes
from tests.tiny_models import tiny_items, tiny_model


def test_passes_are_counted_by_target():
    by_name = {
        name: registry.scorer(name) for name in ("mean-activation", "log-odds", "integrated-gradients")
    }
    assert n_passes(()) == 2
    assert n_passes((by_name["mean-activation"],)) == 2
    assert n_passes((by_name["log-odds"],)) == 3
    assert n_passes((by_name["integrated-gradients"],)) == 2 + 2 * 20
    assert n_passes(tuple(by_name.values())) == 3 + 2 * 20


def test_a_scorer_with_a_target_of_its_own_holds_more_memory():
    bound, items = tiny_model(), tiny_items(10)
    alone = measure_cost(bound, items, None)
    more = measure_cost(bound, items, registry.scorer("log-odds"))
    assert more.memory > alone.memory > 0
    assert alone.n_timed == 10
    assert alone.seconds > 0
