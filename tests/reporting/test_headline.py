"""What a report says first, from numbers by hand."""

from __future__ import annotations

from dataclasses import replace

from culnig.models.embedded import model_name
from culnig.reporting.caveats import WEIGHTS, caveats
from culnig.reporting.headline import headline
from culnig.reporting.next_steps import with_names
from culnig.reporting.sources import Sources
from tests.reporting.samples import SIGNIFICANCE, STABILITY
from tests.reporting.test_summary import against, compared, evaluation, row, unmasked
from tests.toy import neuron_set, toy_layout, write_toy_run

LAYOUT = toy_layout()


def test_the_strongest_effect_beyond_random_masks_is_said_with_what_it_rests_on():
    weaker = row("weaker", against_random={"p_gold": against(-0.01, 0.04)})
    said = headline(evaluation(unmasked(), weaker, row()))
    assert said.is_finding
    assert said.claim == (
        "Masking general (9 neurons) lowers P(gold) on blend by 1.50 points more than masking random neurons "
        "does."
    )
    assert said.certainty == (
        "p 0.00200 over 10 random sets, p 0.00100 over questions; p 0.00200 as the best of 2 comparisons "
        "(Holm); the whole change is −2.00 points (95 % "
        "interval −3.00 to −1.00 points)."
    )
    assert "400 questions of blend" in said.change


def test_the_best_of_many_masks_is_no_finding_if_chance_finds_one_in_so_many():
    """Each p counts the benchmarks of one mask; sixteen cultures at three doses are 48 masks."""
    masks = [row(f"mask {n}", against_random={"p_gold": against(-0.01, 0.9)}) for n in range(47)]
    best = row("best", against_random={"p_gold": against(-0.02, 0.02)})
    assert headline(evaluation(unmasked(), best)).is_finding
    said = headline(evaluation(unmasked(), *masks, best))
    assert not said.is_finding
    assert said.claim.startswith("Nothing found: masking best (9 neurons) does not clearly lower")
    assert "p 0.480 as the best of 48 comparisons (Holm)" in said.certainty


def test_lost_format_is_said_in_the_same_breath():
    loss = {"format": compared(0.09, 0), "knowledge": compared(0.01, 1), "accuracy": compared(0.1, 0)}
    said = headline(evaluation(unmasked(), row(loss=loss)))
    assert said.claim.endswith("Most of the lost accuracy is lost answer format, not knowledge.")


def test_an_effect_of_random_masks_is_no_finding_and_what_could_be_seen_is_said():
    change = {"p_gold": compared(-0.02, 0.4, -0.05, 0.01) | {"detectable": 0.06}}
    said = headline(
        evaluation(unmasked(), row(change=change, against_random={"p_gold": against(-0.001, 0.4)}))
    )
    assert not said.is_finding
    assert said.claim.startswith("Nothing found: masking general (9 neurons) does not clearly lower P(gold)")
    assert "with 400 questions, only a change of 6.00 points or more would be detected" in said.change


SCALED = {"condition": "general ×2", "factor": 2.0}


def risen(effect, p_value, questions_p=0.001):
    """A row that is scaled by 2 and rises: p of the prediction t for a fall, p over questions two-sided."""
    test = against(effect, 0.9) | {"p_value": p_value, "interval": [effect - 0.01, effect + 0.01]}
    change = {"p_gold": compared(0.03, questions_p, 0.02, 0.04)}
    return row(**SCALED, change=change, against_random={"p_gold": test}, loss=None)


def test_enhanced_neurons_may_raise_a_metric_and_are_tested_in_both_directions():
    said = headline(evaluation(unmasked(), risen(0.025, 0.999)))
    assert said.is_finding
    assert said.claim == (
        "Scaling general (9 neurons) by 2 raises P(gold) on blend by 2.50 points more than scaling random "
        "neurons by 2 does."
    )
    assert said.certainty.startswith(
        "p 0.00200 over 10 random sets, p 0.00100 over questions against the unmasked model, both two-sided"
    )
    for unclear in (risen(0.025, 0.97), risen(0.025, 0.999, questions_p=0.2)):
        said = headline(evaluation(unmasked(), unclear))
        assert not said.is_finding
        assert said.claim.startswith(
            "Nothing found: scaling general (9 neurons) by 2 does not clearly change"
        )


def test_enhanced_neurons_that_lower_a_metric_are_said_to_lower_it():
    fallen = row(**SCALED, against_random={"p_gold": against(-0.015, 0.002) | {"interval": [-0.02, -0.01]}})
    said = headline(evaluation(unmasked(), fallen))
    assert said.claim.startswith(
        "Scaling general (9 neurons) by 2 lowers P(gold) on blend by 1.50 points more"
    )


def test_a_rise_over_random_sets_that_do_not_vary_is_no_finding():
    alike = row(
        **SCALED, change={"p_gold": compared(0.03, 0.001)}, against_random={"p_gold": against(0.02, 2)}
    )
    assert not headline(evaluation(unmasked(), alike)).is_finding


def test_the_sign_of_the_change_itself_is_followed():
    """Random masks may raise what these neurons' mask leaves as it is."""
    change = {"p_gold": compared(0.005, 0.3, -0.01, 0.02)}
    said = headline(evaluation(unmasked(), row(change=change)))
    assert said.claim.startswith(
        "Masking general (9 neurons) leaves P(gold) on blend 1.50 points lower than masking random neurons "
    )
    higher = row(change=change, against_random={"p_gold": against(0.01, 1.0)})
    assert " does not lower P(gold)" in headline(evaluation(unmasked(), higher)).claim


def test_without_random_masks_nothing_is_claimed_of_the_neurons():
    said = headline(evaluation(unmasked(), row(against_random=None)))
    assert not said.is_finding
    assert "there are no random neurons to compare with" in said.claim


def test_survivors_of_the_test_are_said_where_nothing_was_masked():
    chosen = replace(
        neuron_set(LAYOUT, range(8, 13), "general"),
        method={"name": "general", "significance": [SIGNIFICANCE]},
    )
    said = headline(Sources(neuron_sets=[chosen]))
    assert not said.is_finding
    assert said.claim.startswith("0 of 5 selected neurons of general survive a false discovery rate of 0.05.")
    assert "6 questions" in said.certainty
    untested = headline(Sources(neuron_sets=[neuron_set(LAYOUT, [8], "general")]))
    assert "There is no evidence yet that they matter" in untested.claim


def test_a_run_alone_claims_nothing(tmp_path):
    said = headline(Sources([write_toy_run(tmp_path / "run")]))
    assert said.claim.startswith("Neurons were scored, but none are selected yet (toy on toy-control, ")
    assert not said.is_finding


def test_caveats_come_by_weight():
    chosen = replace(
        neuron_set(LAYOUT, range(8, 13), "general"),
        method={"name": "general", "significance": [SIGNIFICANCE], "stability": STABILITY},
        sources=[{"benchmarks": {"target": "t"}}],
    )
    loss = {"format": compared(0.12, 0), "knowledge": compared(-0.02, 1), "accuracy": compared(0.1, 0)}
    sources = evaluation(unmasked(n_questions=9), row(loss=loss), split="all")
    said = caveats(replace(sources, neuron_sets=[chosen]))
    begins = [
        *("0 of 5 selected", "Small sample", "Format loss", "Low stability", "Low stability"),
        *("Selected without an exclusion", "blend in EVAL includes items"),
    ]
    assert [line[: len(begin)] for line, begin in zip(said, begins, strict=True)] == begins
    assert WEIGHTS[0] == "stops"


def test_commands_get_the_names_of_the_inputs(tmp_path):
    run = write_toy_run(tmp_path / "a run")
    sources = Sources([run], set_paths=[tmp_path / "x.json"])
    command = "culnig-engine evaluate --model MODEL --benchmark BENCHMARK --neurons FILE --matrix -o EVAL"
    assert with_names(command, sources) == (
        f"culnig-engine evaluate --model toy --benchmark toy-target --neurons '{tmp_path}/x.json' --matrix "
        "-o "
        "evaluation"
    ).replace("'", "" if " " not in str(tmp_path) else "'")
    assert with_names("culnig-engine select general RUN -o g.json", sources) == (
        f"culnig-engine select general '{run.folder}' -o g.json"
    )
    beside = replace(sources, shown_in=tmp_path)
    assert with_names("culnig-engine select general RUN -o g.json", beside) == (
        "culnig-engine select general 'a run' -o g.json"
    )
    scored = with_names("culnig-engine score --model MODEL --benchmark BENCHMARK -o RUN", sources)
    assert scored == (
        "culnig-engine score --model toy --benchmark toy-target --benchmark toy-control --benchmark "
        "toy-exclusion -o run"
    )


def test_commands_write_beside_the_inputs(tmp_path):
    sources = Sources([write_toy_run(tmp_path / "run")])
    assert with_names("culnig-engine score --halves -o RUN", sources).endswith(" -o run-2")
    assert with_names("culnig-engine evaluate --dose -o EVAL", sources).endswith(" -o evaluation")


def test_readers_see_the_name_of_the_embedded_model_and_commands_what_loads_it():
    chosen = replace(neuron_set(LAYOUT, range(8, 13), "general"), model="embedded")
    sources = Sources(neuron_sets=[chosen])
    assert "5 neurons of SmolLM2-135M-Instruct. There is" in headline(sources).claim
    assert sources.model_names == ["SmolLM2-135M-Instruct"]
    assert with_names("culnig-engine ask --model MODEL", sources) == "culnig-engine ask --model embedded"
    assert model_name("/home/someone/models/gemma") == "models/gemma"
    assert model_name("google/gemma-3") == "google/gemma-3"


def test_results_of_several_models_name_theirs():
    first = evaluation(unmasked(), row(against_random={"p_gold": against(-0.01, 0.9)}))
    second = evaluation(unmasked(), row(), model={"source": "other"})
    sets = [neuron_set(LAYOUT, [8], "general"), replace(neuron_set(LAYOUT, [9], "general"), model="other")]
    both = Sources(evaluations=first.evaluations + second.evaluations, neuron_sets=sets)
    assert headline(both).claim.startswith("Masking general (9 neurons) of other lowers P(gold) on blend")
    assert [own.name for own in both.distinct.neuron_sets] == ["general (toy)", "general (other)"]
    assert Sources(neuron_sets=sets[:1]).distinct.neuron_sets[0].name == "general"
