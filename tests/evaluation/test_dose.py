from __future__ import annotations

import pytest

from culnig.evaluation.dose import dose_table


def row(condition, benchmark, change, factor=0.0, like=None):
    return {
        "condition": condition,
        "of_set": "general",
        "benchmark": benchmark,
        "factor": factor,
        "share": 1.0,
        "n_neurons": 5,
        "like": like,
        "n_questions": {"blend": 20, "normad": 4, "qnli": 7}[benchmark],
        "change": {"accuracy": {"effect": change}},
    }


def table(doses, cultural=("blend", "normad"), general="qnli"):
    rows = [{"condition": "unmasked", "like": None, "change": None, "benchmark": "blend"}]
    for condition, factor, effects, damage in doses:
        rows += [row(condition, name, effect, factor) for name, effect in zip(cultural, effects, strict=True)]
        if damage is not None:
            rows.append(row(condition, general, damage, factor))
    return {dose.condition: dose for dose in dose_table(rows, cultural)}


def test_effect_is_the_mean_fall_on_cultural_benchmarks_and_damage_that_on_the_others():
    dose = table([("×0", 0.0, (-0.3, -0.1), -0.05)])["×0"]
    assert dose.effect == pytest.approx(0.2)
    assert dose.damage == pytest.approx(0.05)
    assert dose.specificity == pytest.approx(0.15)
    assert (dose.n_questions, dose.n_damage_questions) == (24, 7)


def test_an_enhanced_set_is_to_rise_and_a_fall_elsewhere_is_still_damage():
    dose = table([("×2", 2.0, (0.1, 0.3), -0.05)])["×2"]
    assert dose.effect == pytest.approx(0.2)
    assert dose.damage == pytest.approx(0.05)


def test_the_pareto_front_holds_the_doses_that_no_other_beats():
    found = table(
        [
            ("strong", 0.0, (-0.4, -0.4), -0.2),
            ("mild", 0.5, (-0.2, -0.2), -0.05),
            ("worse than mild", 0.5, (-0.1, -0.1), -0.06),
            ("as strong, more damage", 0.0, (-0.4, -0.4), -0.3),
            ("nothing", 0.9, (0.0, 0.0), 0.0),
        ]
    )
    assert {name: dose.best for name, dose in found.items()} == {
        "strong": True,
        "mild": True,
        "worse than mild": False,
        "as strong, more damage": False,
        "nothing": True,
    }


def test_without_a_general_benchmark_damage_is_unknown_and_nothing_is_best():
    dose = table([("×0", 0.0, (-0.3, -0.1), None)])["×0"]
    assert (dose.damage, dose.specificity, dose.best) == (None, None, False)


def test_baselines_are_no_doses():
    rows = [row("×0", "blend", -0.1), row("random 0 like ×0", "blend", -0.1, like="×0")]
    assert [dose.condition for dose in dose_table(rows, ["blend"])] == ["×0"]
