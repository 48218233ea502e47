"""A model whose culture neurons are known: the evaluation finds what was planted, and blames nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from culnig.evaluation.conditions import make_conditions
from culnig.evaluation.matrix import selectivity
from culnig.evaluation.results import result_rows
from culnig.evaluation.runner import run_conditions
from culnig.validation.planted import planted_model
from culnig.validation.planting import SHARED
from culnig.validation.settings import PlantedSettings
from culnig.validation.world import FACTS, GENERAL_FACTS

pytestmark = pytest.mark.slow

BENCHMARKS = (FACTS, GENERAL_FACTS)


@pytest.fixture(scope="module")
def planted():
    return planted_model(PlantedSettings(cultures=5, questions=12, layers=2, mlp_width=256))


@pytest.fixture(scope="module")
def answers(planted):
    conditions = make_conditions(list(planted.sets.values()), planted.bound.layout, n_random=2)
    asked = planted.world.chosen("test")
    return run_conditions(planted.bound, {name: asked[name].items for name in BENCHMARKS}, conditions)


@pytest.fixture(scope="module")
def rows(planted, answers):
    conditions = make_conditions(list(planted.sets.values()), planted.bound.layout, n_random=2)
    return {(row["benchmark"], row["condition"]): row for row in result_rows(answers, BENCHMARKS, conditions)}


def masks(planted):
    return {culture: chosen.name for culture, chosen in planted.sets.items() if culture != SHARED}


def test_masking_a_culture_drops_it_to_chance_and_leaves_the_others(planted, answers):
    chance = 1 / len(answers[FACTS, "unmasked"].options[0])
    assert answers[FACTS, "unmasked"].correct.mean() > 0.95
    for culture, mask in masks(planted).items():
        masked = answers[FACTS, mask]
        own = masked.culture == culture
        assert masked.correct[own].mean() <= chance
        assert masked.correct[~own].mean() > 0.9


def test_the_matrix_is_dominated_by_its_diagonal(planted, answers):
    for metric in ("accuracy", "p_gold"):
        found = selectivity(answers, [FACTS], masks(planted), metric=metric)
        assert found.dominance_p < 0.01
        assert found.own_rank.tolist() == [1.0] * 5
        assert (found.own_p < 0.01).all()
        assert found.dominance > 0.7


def test_the_general_set_drops_every_culture_and_nothing_else(planted, answers, rows):
    masked = answers[FACTS, planted.shared.name]
    for culture in planted.world.cultures:
        assert masked.correct[masked.culture == culture].mean() <= 1 / len(masked.options[0])
    assert rows[GENERAL_FACTS, planted.shared.name]["accuracy"] > 0.95


def test_what_is_lost_is_knowledge_and_the_format_is_kept(planted, rows):
    for chosen in planted.sets.values():
        row = rows[FACTS, chosen.name]
        assert row["option_mass"] > 0.9
        lost, form = (row["loss"][part]["items"] for part in ("accuracy", "format"))
        assert lost >= 11  # a culture has twelve questions
        assert abs(form) <= 1
        assert row["loss"]["knowledge"]["p_value"] < 0.01
        assert row["against_random"]["accuracy"]["bootstrap_p"] < 0.01


def test_random_neurons_are_not_significant(planted, rows):
    for (benchmark, condition), row in rows.items():
        if row["like"] is not None and benchmark == FACTS:
            assert np.abs(row["change"]["accuracy"]["effect"]) < 0.1, condition
            assert row["p_value"] > 0.05
