"""The sentences follow from the numbers: each caveat is there when its figure says so, and else not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from culnig.evaluation.stored import Evaluation
from culnig.reporting.caveats import caveats
from culnig.reporting.sections.specificity import matrix_section
from culnig.reporting.sources import Sources
from culnig.reporting.summary import findings
from tests.answered import answers
from tests.toy import moments, neuron_set, random_moments, toy_layout, write_run

LAYOUT = toy_layout()
ENOUGH = {"n": 900, "n_questions": 400, "chance": 0.25, "option_accuracy": 0.8}


def compared(effect, p, low=None, high=None):
    return {"effect": effect, "interval": [low, high], "p_value": p, "n": 900, "n_questions": 400}


def against(effect, p_holm, questions_p=0.001, n_random=10):
    ranks = {"n_random": n_random, "empirical_p": 1 / (n_random + 1), "least_empirical_p": 1 / (n_random + 1)}
    return compared(effect, p_holm / 2) | {"p_holm": p_holm, "questions_p": questions_p} | ranks


def row(condition="general", **changes):
    return {
        "benchmark": "blend",
        "condition": condition,
        "factor": 0.0,
        "n_neurons": 9,
        "like": None,
        "change": {"accuracy": compared(-0.1, 0.01), "p_gold": compared(-0.02, 0.001, -0.03, -0.01)},
        "loss": {"format": compared(0.0, 1), "knowledge": compared(0.1, 1), "accuracy": compared(0.1, 1)},
        "against_random": {"p_gold": against(-0.015, 0.002)},
        "p_value": 0.01,
        "p_holm": 0.02,
        **ENOUGH,
        **changes,
    }


def unmasked(**changes):
    return row("unmasked", change=None, loss=None, against_random=None, p_value=None, p_holm=None, **changes)


def evaluation(*rows, split="test", **more):
    results = {"rows": list(rows), "benchmarks": {"blend": {"split": split}}, "model": {"source": "toy"}}
    return Sources(evaluations=[Evaluation(Path("EVAL"), results | more, {})])


def test_an_effect_beyond_random_neurons_is_reported_as_such():
    (said,) = findings(evaluation(unmasked(), row()))
    assert "changes P(gold) on blend by −2.00 points (95 % interval −3.00 to −1.00 points)" in said
    assert (
        "Compared with 10 random sets, the difference is −1.50 points (p 0.00200; rank p 0.091 of 10 random "
        "sets, "
        "which cannot be below 0.091): more than the effect of masking any neurons" in said
    )


def test_neurons_that_are_scaled_up_are_compared_with_random_ones_scaled_alike_over_all_benchmarks():
    change, close = {"p_gold": compared(0.03, 0.001, 0.02, 0.04)}, {"interval": [0.015, 0.025]}
    test = against(0.02, 0.9) | {"p_value": 0.996} | close
    rows = [
        row("general ×2", factor=2.0, benchmark=name, change=change, against_random={"p_gold": test})
        for name in ("blend", "cities")
    ]
    said = findings(evaluation(unmasked(), *rows))[0]
    assert said.startswith("Scaling general (9 neurons) by 2 changes P(gold) on blend by +3.00 points")
    assert said.endswith("(p 0.0160, two-sided): more than the effect of scaling any neurons by 2.")


def test_an_effect_like_that_of_random_neurons_is_not():
    weak = row(against_random={"p_gold": against(-0.001, 0.4, n_random=19)})
    (said,) = findings(evaluation(unmasked(), weak))
    assert (
        "(p 0.400; rank p 0.050 of 19 random sets): not clearly more than the effect of masking any neurons"
        in said
    )


def test_an_effect_that_is_significant_alone_but_not_after_holm_is_not_reported_as_one():
    (said,) = findings(evaluation(unmasked(), row(against_random={"p_gold": against(-0.01, 0.06)})))
    assert ": not clearly more than the effect of masking any neurons" in said


def test_an_effect_on_these_questions_only_is_reported_as_such():
    (said,) = findings(evaluation(unmasked(), row(against_random={"p_gold": against(-0.01, 0.001, 0.2)})))
    assert ": not clearly for other questions (p 0.200) more than the effect of masking any neurons" in said


FORMAT_LOSS = {"format": compared(0.12, 0), "knowledge": compared(-0.02, 1), "accuracy": compared(0.1, 0)}


def test_no_format_is_lost_where_no_accuracy_is():
    won = {**FORMAT_LOSS, "knowledge": compared(-0.12, 0), "accuracy": compared(0.0, 1)}
    assert caveats(evaluation(unmasked(), row(loss=won))) == []


def test_a_sound_evaluation_has_no_caveat():
    assert caveats(evaluation(unmasked(), row())) == []


@pytest.mark.parametrize(
    ("rows", "begins"),
    [
        ([unmasked(n_questions=99), row()], "Small sample: blend has 900 items of 99 independent questions"),
        ([unmasked(), row(against_random=None)], "EVAL has no random baselines"),
        ([unmasked(), row(p_value=0.04, p_holm=0.08)], "1 change of accuracy in EVAL is significant alone"),
        (
            [unmasked(), row(loss=FORMAT_LOSS)],
            "Format loss: with general masked, 12.0 points of accuracy on blend",
        ),
    ],
)
def test_each_weakness_is_named(rows, begins):
    (said,) = caveats(evaluation(*rows))
    assert said.startswith(begins)


def test_warnings_about_the_unmasked_models_answers_are_caveats():
    at_chance = answers(n=400, n_right=100, mass=0.9)
    sources = evaluation(unmasked(), row())
    (own,) = sources.evaluations
    said = caveats(Sources(evaluations=[replace(own, answers={("blend", "unmasked"): at_chance})]))
    assert [line.partition(":")[0] for line in said] == ["Near chance"]
    assert caveats(Sources(evaluations=[replace(own, answers={("blend", "general"): at_chance})])) == []


def test_inputs_of_several_versions_are_named():
    sources = evaluation(unmasked(), row())
    (own,) = sources.evaluations
    made = [replace(own, results=own.results | {"versions": {"culnig-engine": made_by}}) for made_by in "ab"]
    assert caveats(Sources(evaluations=made)) == [
        "The inputs were made by 2 versions of culnig-engine: a, b."
    ]
    assert caveats(Sources(evaluations=[own, made[0]])) == []


def test_warnings_about_a_run_are_caveats(tmp_path):
    zeros = moments(["China"], [100], np.zeros((1, LAYOUT.n_neurons)))
    run = write_run(tmp_path / "zeros", LAYOUT, {"t": ("target", zeros), "c": ("control", zeros)}, 100)
    assert [line.partition(":")[0] for line in caveats(Sources([run]))] == ["Zero scores"]


def test_evaluating_on_items_used_for_selection_is_reported():
    (said,) = caveats(evaluation(unmasked(), row(), split="all"))
    assert "neurons may have been evaluated on the questions that were used to select them" in said


def stable(jaccard, n_stable):
    agreement = {"kind": "bootstrap", "jaccard": jaccard, "by_chance": 0.03}
    return {"agreement": [agreement], "selected": 10, "selected_stable": n_stable, "level": 0.8}


@pytest.mark.parametrize(
    ("stability", "expected"),
    [
        (stable(0.7, 6), []),
        (stable(0.4, 6), ["have a Jaccard index of 0.40; by chance it would be 0.03"]),
        (stable(0.7, 4), ["only 4 of 10 neurons of toy set"]),
        (None, ["The stability of toy set was not tested"]),
    ],
)
def test_low_stability_is_named(stability, expected):
    those = replace(
        neuron_set(LAYOUT, range(10)),
        sources=[{"benchmarks": {"target": "t", "exclusion": "e"}}],
        method={"name": "general"} | ({} if stability is None else {"stability": stability}),
    )
    found = caveats(Sources(neuron_sets=[those]))
    assert len(found) == len(expected)
    for text, said in zip(expected, found, strict=True):
        assert text in said


def test_random_sets_are_not_asked_for_stability_or_an_exclusion():
    those = replace(neuron_set(LAYOUT, range(10)), method={"name": "random"})
    assert caveats(Sources(neuron_sets=[those])) == []


def test_a_selection_without_exclusion_is_named():
    those = replace(
        neuron_set(LAYOUT, [1]),
        sources=[{"benchmarks": {"target": "t"}}],
        method={"name": "general", "stability": stable(0.9, 9)},
    )
    (said,) = caveats(Sources(neuron_sets=[those]))
    assert said.startswith("Selected without an exclusion: toy set")


def test_few_questions_of_a_culture_and_a_missing_control_are_named(tmp_path):
    few = random_moments(0, LAYOUT.n_neurons, items_each=500)
    found = caveats(Sources([write_run(tmp_path / "few", LAYOUT, {"t": ("target", few)}, 99)]))
    assert found == [
        "Few questions: t in few has 2,000 items of 99 independent questions. Scores rest on few questions.",
        "few has no control, so its scores include the effect of the question format.",
    ]
    imported = random_moments(0, LAYOUT.n_neurons, items_each=99)
    (said, _) = caveats(Sources([write_run(tmp_path / "imported", LAYOUT, {"t": ("target", imported)}, 0)]))
    assert said.startswith("Few items: t in imported has 396 items, for some cultures only 99 items.")
    many = moments(["China"], [100], few.sum[:1])
    sources = Sources(
        [write_run(tmp_path / "many", LAYOUT, {"t": ("target", many), "c": ("control", many)}, 100)]
    )
    assert caveats(sources) == []


def test_many_sets_of_one_method_make_one_sentence_each():
    general = {"name": "general"}
    sets = [replace(neuron_set(LAYOUT, range(3 + n), f"s{n}"), method=general, sources=[]) for n in range(5)]
    assert findings(Sources(neuron_sets=sets)) == [
        "s0, s1 and 3 more sets: 3 to 7 neurons of toy, selected with the method general, in layer 0."
    ]
    assert len(caveats(Sources(neuron_sets=sets))) == 1


def trained(*rows, seeds=(42, 43), seeds_p={"seeds_p": 0.01}):  # noqa: B006
    document = {
        "model": {"source": "toy"},
        "task": "qnli",
        "seeds": list(seeds),
        "arms": [{"arm": "top"}, {"arm": "top"}],
        "changes": [
            {"arm": "top", "benchmark": name, "kind": kind, "metric": metric, "p_holm": 0.03}
            | {"change": compared(effect, 0.01) | seeds_p}
            for name, kind, effect in rows
            for metric in ("p_gold", "accuracy")
        ],
    }
    return Sources(arms=[document])


def test_gains_and_costs_of_an_arm_are_reported_task_first():
    sources = trained(("blend", "culture", -0.05), ("qnli", "task", 0.25))
    assert findings(sources) == [
        "Training top on qnli changes accuracy by +25.0 points on qnli (p 0.0300), −5.00 points on blend (p "
        "0.0300); p "
        "is corrected for all arms and benchmarks (Holm)."
    ]
    assert caveats(sources) == []


def test_arms_of_an_earlier_version_took_their_seeds_as_fixed():
    rows = (("blend", "culture", -0.05), ("qnli", "task", 0.25))
    (said,) = caveats(trained(*rows, seeds_p={}))
    assert "take the seeds as fixed" in said


def test_a_single_seed_and_an_unmeasured_cost_are_reported():
    found = caveats(trained(("qnli", "task", 0.25), seeds=[42]))
    assert [said.partition(":")[0] for said in found] == [
        "One seed",
        "The arms trained on qnli were not evaluated on a benchmark of cultural questions, so their cost "
        "is unknown. Add such a benchmark with --benchmark.",
    ]


def matrix(dominance, p=0.001):
    return {
        "metric": "p_gold",
        "masked": ["China", "Iran", "Spain"],
        "evaluated": ["China", "Iran", "Spain"],
        "change": [[-0.3, 0.0, 0.0], [0.0, -0.3, 0.0], [0.0, 0.0, -0.3]],
        "own_rank": [1.0, 1.0, 1.0],
        "own_p": [0.01, 0.02, 0.03],
        "n_questions": [9, 9, 9],
        "dominance": dominance,
        "dominance_p": p,
        "related": None,
        "related_p": None,
    }


def test_masks_are_specific_where_their_own_culture_falls_more():
    (said,) = (one for one in findings(evaluation(unmasked(), matrix=[matrix(0.3)])) if "own culture" in one)
    assert "are specific to their own cultures" in said
    assert "changes by −30.0 points compared with the other cultures (p 0.001" in said


@pytest.mark.parametrize(
    ("dominance", "p", "signed"), [(-0.3, 0.001, "+30.0 points"), (0.3, 0.2, "−30.0 points")]
)
def test_masks_are_not_specific_where_others_fall_more_or_chance_does_as_much(dominance, p, signed):
    results = evaluation(unmasked(), matrix=[matrix(dominance, p)])
    (said,) = (one for one in findings(results) if "own culture" in one)
    assert "are no more specific than chance to their own cultures" in said
    assert f"changes by {signed} compared with" in said


@pytest.mark.parametrize(
    ("dominance", "said"), [(0.3, "harm their own culture more than"), (-0.3, "culture no more than others")]
)
def test_the_note_below_a_matrix_says_whom_the_masks_harm(dominance, said):
    results = {"matrix": [matrix(dominance)]}
    section = matrix_section([Evaluation(Path("EVAL"), results, {})])
    assert said in section.panels[0].note
