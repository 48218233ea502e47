from __future__ import annotations

import numpy as np
import pytest

from culnig.reporting.profiles import profile, target_roles
from culnig.reporting.sections.cultures import leaf_order
from culnig.store.run import Run
from tests.toy import random_moments, toy_layout, write_run, write_toy_run


def difference_of(run: Run):
    target, control = run.moments("toy-target"), run.moments("toy-control")
    return target.culture_scores - control.rows(target.cultures)


def test_sums_per_layer_correlations_and_best_neurons_equal_those_from_the_whole_table(tmp_path):
    run = write_toy_run(tmp_path / "run")
    (roles,) = target_roles(run)
    found = profile(run, roles, np.array([83, 4, 4]), 7)
    difference = difference_of(run)
    for place, module in enumerate(run.layout.modules):
        for layer in range(run.layout.n_layers):
            own = difference[:, run.layout.segment(module, layer).columns]
            np.testing.assert_allclose(found.layers[:, place, layer], np.where(own > 0, own, 0).sum(axis=1))
    np.testing.assert_allclose(found.correlation, np.corrcoef(difference), atol=1e-12)
    assert found.best.tolist() == np.argsort(-difference.sum(axis=0), kind="stable")[:7].tolist()
    assert set(found.columns) == {4, 83, *found.best.tolist()}
    for flat, column in found.columns.items():
        np.testing.assert_allclose(column, difference[:, flat])


@pytest.mark.parametrize("n_layers", [1, 9])
def test_blocks_that_cut_segments_change_nothing(tmp_path, monkeypatch, n_layers):
    layout = toy_layout(n_layers)
    run = write_run(
        tmp_path / "run",
        layout,
        {
            "toy-target": ("target", random_moments(0, layout.n_neurons)),
            "toy-control": ("control", random_moments(1, layout.n_neurons)),
        },
    )
    (roles,) = target_roles(run)
    whole = profile(run, roles, np.array([5]), 3)

    def narrow(self, wanted):
        tables = [self.moments(one.benchmark).sum[one.rows or slice(None)] for one in wanted]
        for start in range(0, layout.n_neurons, 7):
            columns = slice(start, min(start + 7, layout.n_neurons))
            yield columns, [table[:, columns].copy() for table in tables]

    monkeypatch.setattr(Run, "blocks", narrow)
    cut = profile(run, roles, np.array([5]), 3)
    np.testing.assert_allclose(cut.layers, whole.layers)
    np.testing.assert_allclose(cut.correlation, whole.correlation)
    assert cut.best.tolist() == whole.best.tolist()
    np.testing.assert_array_equal(cut.columns[5], whole.columns[5])


def test_the_control_is_named_after_its_target_or_the_only_control(tmp_path):
    layout = toy_layout()

    def drawn():
        return random_moments(0, layout.n_neurons)

    run = write_run(
        tmp_path / "run",
        layout,
        {
            "a": ("target", drawn()),
            "a-control": ("control", drawn()),
            "b": ("target", drawn()),
            "b-control": ("control", random_moments(0, layout.n_neurons, ("China",))),
            "c": ("target", drawn()),
        },
    )
    found = {roles.target.name: roles.control and roles.control.name for roles in target_roles(run)}
    assert found == {"a": "a-control", "b": None, "c": None}  # b's control lacks cultures


def test_similar_rows_are_next_to_each_other():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 50))
    rows = np.stack([first, second, first + 0.1, second * 2, first * 3])
    order = leaf_order(rows)
    kinds = ["a" if place in (0, 2, 4) else "b" for place in order]
    assert "".join(kinds) in ("aaabb", "bbaaa")
    assert sorted(leaf_order(np.zeros((4, 9)))) == [0, 1, 2, 3]
