"""Welch on stored moments against scipy on the items themselves; Benjamini–Hochberg against statsmodels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from culnig.core.moments import CultureMoments
from culnig.core.neurons import MLP_GATE, MLP_UP, QUERY
from culnig.errors import SelectionError, UnknownNameError
from culnig.selection.significance import (
    Contrast,
    check_fdr,
    contrast_p_values,
    culture_contrast,
    general_contrast,
    joined_pools,
    p_values,
    q_values,
    uncertain_tails,
    with_significance,
)
from culnig.selection.tables import choose_roles
from tests.toy import neuron_set, toy_layout, write_run

LAYOUT = toy_layout(2, {QUERY: 3, MLP_GATE: 20, MLP_UP: 5})
N = LAYOUT.n_neurons
POSITIONS = joined_pools([LAYOUT.pool("mlp"), LAYOUT.pool("attention")])
COUNTS = {"China": (9, 9), "Iran": (14, 11), "Mexico": (5, 6), "Spain": (20, 20)}
"""Items of each culture in target and control."""


def drawn_items(seed=0, effect=0.0):
    """Item scores (item, neuron) of each culture, in target and control; neurons differ."""
    random = np.random.default_rng(seed)
    spread, mean = random.uniform(0.1, 3, N), random.normal(size=N)
    target, control = {}, {}
    for number, (culture, (n_target, n_control)) in enumerate(COUNTS.items()):
        target[culture] = mean + effect * number + spread * random.gamma(2, 1, (n_target, N))
        control[culture] = np.maximum(0, mean + 2 * spread * random.gamma(2, 1, (n_control, N)))
    return target, control


def moments_of(items):
    return CultureMoments(
        tuple(items),
        np.array([len(rows) for rows in items.values()]),
        np.ones(len(items)),
        np.array([rows.sum(axis=0) for rows in items.values()]),
        np.array([np.square(rows).sum(axis=0) for rows in items.values()]),
        np.array([(rows > 0).sum(axis=0) for rows in items.values()], dtype=np.uint32),
    )


@pytest.fixture
def stored(tmp_path):
    target, control = drawn_items()
    backwards = dict(reversed(list(control.items())))  # rows of the control lie in another order
    run = write_run(
        tmp_path / "run",
        LAYOUT,
        {"t": ("target", moments_of(target)), "c": ("control", moments_of(backwards))},
    )
    return run, choose_roles(run, use_exclusion=False), target, control


def test_a_culture_against_its_control_is_welch_of_the_items(stored):
    run, roles, target, control = stored
    for culture in COUNTS:
        found = p_values(run, roles, culture_contrast(roles, culture, "control"), POSITIONS)
        expected = stats.ttest_ind(
            target[culture], control[culture], equal_var=False, alternative="greater"
        ).pvalue[POSITIONS]
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_two_cells_are_scipys_test_from_statistics():
    n = np.array([7, 30])
    sums, squares = np.array([[7.0, -3.0], [12.0, 4.0]]), np.array([[11.0, 40.0], [90.0, 8.0]])
    mean = sums / n[:, None]
    deviation = np.sqrt((squares - n[:, None] * mean**2) / (n[:, None] - 1))
    for column in range(2):
        expected = stats.ttest_ind_from_stats(
            *(mean[0, column], deviation[0, column], 7, mean[1, column], deviation[1, column], 30),
            equal_var=False,
            alternative="greater",
        ).pvalue
        found = contrast_p_values(np.array([1.0, -1.0]), sums, squares, n)[column]
        assert found == pytest.approx(expected, rel=1e-12)


def plainly(cells):
    """One neuron's contrast as the formula has it: (weight, items) of each cell."""
    estimate = sum(weight * items.mean() for weight, items in cells)
    parts = [(weight**2 * items.var(ddof=1) / len(items), len(items) - 1) for weight, items in cells]
    error = sum(part for part, _ in parts)
    degrees = error**2 / sum(part**2 / free for part, free in parts)
    return stats.t.sf(estimate / error**0.5, degrees)


def test_a_culture_against_the_others_is_the_contrast_of_all_cells(stored):
    run, roles, target, control = stored
    found = p_values(run, roles, culture_contrast(roles, "Iran", "others"), POSITIONS)
    for place, neuron in enumerate(POSITIONS):
        cells = [
            (sign * (1.0 if culture == "Iran" else -1 / 3), of[culture][:, neuron])
            for sign, of in ((1, target), (-1, control))
            for culture in COUNTS
        ]
        assert found[place] == pytest.approx(plainly(cells), rel=1e-9)


def test_all_cultures_together_weigh_each_by_its_items(stored):
    run, roles, target, control = stored
    found = p_values(run, roles, general_contrast(roles), POSITIONS)
    n_target, n_control = (sum(count[side] for count in COUNTS.values()) for side in (0, 1))
    for place, neuron in enumerate(POSITIONS[:8]):
        cells = [(len(items) / n_target, items[:, neuron]) for items in target.values()]
        cells += [(-len(items) / n_control, items[:, neuron]) for items in control.values()]
        assert found[place] == pytest.approx(plainly(cells), rel=1e-9)


def test_without_a_control_the_target_stands_against_zero(stored):
    run, _, target, _ = stored
    roles = choose_roles(run, use_control=False, use_exclusion=False)
    found = p_values(run, roles, general_contrast(roles), POSITIONS)
    n = sum(count[0] for count in COUNTS.values())
    expected = plainly([(len(items) / n, items[:, 0]) for items in target.values()])
    assert found[0] == pytest.approx(expected, rel=1e-9)
    assert "control" not in general_contrast(roles).null


def test_without_a_difference_p_is_uniform():
    random = np.random.default_rng(5)
    weights, n = np.array([1.0, -1 / 3, -1 / 3, -1 / 3]), np.array([8, 12, 20, 9])
    spread = np.array([1.0, 3.0, 0.5, 2.0])
    sums, squares = np.empty((4, 4000)), np.empty((4, 4000))
    for cell in range(4):
        items = random.normal(5, spread[cell], (n[cell], 4000))
        sums[cell], squares[cell] = items.sum(axis=0), np.square(items).sum(axis=0)
    p = contrast_p_values(weights, sums, squares, n)
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_a_neuron_that_never_varies_is_not_significant_whatever_its_mean():
    n = np.array([10, 10])
    constant = np.array([[1.0, 5.0], [1.0, 0.1]])  # 0.1 cannot be added ten times without rounding
    items = np.repeat(constant[:, None, :], 10, axis=1)
    p = contrast_p_values(np.array([1.0, -1.0]), items.sum(axis=1), np.square(items).sum(axis=1), n)
    assert p.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("fewest", [1, 4])
def test_fewer_than_five_items_of_a_culture_are_too_few(fewest):
    with pytest.raises(SelectionError, match=f"at least 5 items of every culture, but one has {fewest}"):
        contrast_p_values(np.array([1.0, -1.0]), np.ones((2, 3)), np.ones((2, 3)), np.array([fewest, 5]))


def test_small_p_values_of_skewed_controls_are_counted(tmp_path):
    """The bound c − 1/c never exceeds the skewness; mostly clamped controls are above 0.5."""
    generator = np.random.default_rng(3)
    control = np.maximum(generator.normal(-1.0, 1.0, (40, N)), 0.0)
    control[:, ::2] = generator.uniform(1.0, 2.0, (40, control[:, ::2].shape[1]))  # c < 1: no skewness shown
    target = generator.normal(5.0, 0.1, (40, N))
    run = write_run(
        tmp_path / "run",
        LAYOUT,
        {"t": ("target", moments_of({"x": target})), "c": ("control", moments_of({"x": control}))},
    )
    roles = choose_roles(run, use_exclusion=False)
    flat, small = np.arange(N), np.full(N, 1e-5)
    uncertain = uncertain_tails(run, roles, general_contrast(roles), flat, small)
    variation = control.std(axis=0) / control.mean(axis=0)
    assert (variation - 1 / variation <= stats.skew(control, axis=0) + 1e-9).all()
    np.testing.assert_array_equal(uncertain, np.arange(N) % 2 == 1)
    assert not uncertain_tails(run, roles, general_contrast(roles), flat, np.full(N, 2e-4)).any()


def test_impossible_contrasts_are_refused(stored):
    run, roles, *_ = stored
    with pytest.raises(UnknownNameError, match="did you mean 'Spain'"):
        culture_contrast(roles, "Spayn", "others")
    alone = choose_roles(run, use_control=False, use_exclusion=False)
    with pytest.raises(SelectionError, match="leave out control=False"):
        culture_contrast(alone, "Spain", "control")
    single = replace(roles, target=replace(roles.target, cultures=("Spain",), items_of_culture=(20,)))
    with pytest.raises(SelectionError, match="only culture of this run"):
        culture_contrast(single, "Spain", "others")


# Benjamini–Hochberg


def test_q_values_equal_statsmodels():
    p = np.random.default_rng(2).beta(0.4, 1.5, 5000)
    rejected, adjusted, *_ = multipletests(p, alpha=0.05, method="fdr_bh")
    np.testing.assert_allclose(q_values(p), adjusted, rtol=1e-12)
    assert (q_values(p) <= 0.05).tolist() == rejected.tolist()


def test_q_values_by_hand():
    # sorted: 0.01·4/1, 0.02·4/2, 0.03·4/3, 0.5·4/4, then the running minimum from the end
    assert q_values(np.array([0.5, 0.02, 0.03, 0.01])).tolist() == pytest.approx([0.5, 0.04, 0.04, 0.04])
    assert q_values(np.array([])).shape == (0,)


NOTHING = Contrast("nothing", "control", np.ones(1), None)


def test_survivors_are_counted_and_kept_only_by_the_rule():
    layout = toy_layout(1, {MLP_GATE: 6})
    chosen = neuron_set(layout, [4, 0, 3])
    positions, q = np.arange(6), np.array([0.2, 0.001, 0.001, 0.05, 0.04, 0.9])
    told = with_significance(chosen, chosen.flat(layout), positions, q, NOTHING)
    assert told.neurons == chosen.neurons
    assert told.columns["q_value"].tolist() == [0.04, 0.2, 0.05]
    (summary,) = told.method["significance"]
    assert {key: summary[key] for key in ("tested", "tested_significant", "selected", "is_rule")} == {
        "tested": 6,
        "tested_significant": 4,
        "selected": 3,
        "is_rule": False,
    }
    assert summary["selected_significant"] == 2
    kept = with_significance(chosen, chosen.flat(layout), positions, q, NOTHING, fdr=0.04)
    assert kept.flat(layout).tolist() == [4]
    assert kept.scores.tolist() == chosen.scores[:1].tolist()
    assert kept.method["significance"][0]["is_rule"] is True


@pytest.mark.parametrize("fdr", [0, 1, -0.1, float("nan")])
def test_an_invalid_rate_is_refused(fdr):
    with pytest.raises(SelectionError, match="fdr is"):
        check_fdr(fdr)
