"""A report's first words: the strongest statement its inputs allow, how sure it is, what could change it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from culnig.core.quantities import change_in_words, interval_in_words, p_text
from culnig.core.statistics import holm
from culnig.core.text import counted, metric_text
from culnig.evaluation.verdicts import LEVEL, adjusted_p, tested_p
from culnig.models.embedded import model_name
from culnig.reporting.sources import Sources
from culnig.reporting.summary import begun, intervention, metric_of, training_effect

MOSTLY = 0.5
"""Share of the lost accuracy from which the loss counts as mostly format."""


class Headline(NamedTuple):
    """Three sentences."""

    claim: str
    certainty: str
    change: str
    """What would change the claim."""
    is_finding: bool = False


def headline(sources: Sources) -> Headline:
    """The effect of a mask if one was measured, else what was selected, trained, validated or scored."""
    return next(
        (made for part in (_of_masks, _of_arms, _of_sets, _of_validations) for made in part(sources)),
        _of_runs(sources),
    )


def _of_masks(sources: Sources) -> Iterator[Headline]:
    """The mask that does most beyond random masks, corrected for all masks; without one, that none does."""
    compared = [
        (row, metric_of(row), (row["against_random"] or {}).get(metric_of(row)))
        for evaluation in sources.evaluations
        for row in sources.rows_to_tell(evaluation)
        if row["factor"] != 1
    ]
    tested = [(row, metric, test) for row, metric, test in compared if test is not None]
    if tested:
        # the best of many masks is always good: its p counts all of them
        larger = [max(tested_p(row, metric)) for row, metric, _ in tested]
        ranked = sorted(
            zip(holm(larger), tested, strict=True),
            key=lambda entry: (entry[0], max(tested_p(*entry[1][:2])), -abs(entry[1][2]["effect"])),
        )
        of_all, (row, metric, test) = ranked[0]
        as_best = f"; p {p_text(of_all)} as the best of {len(tested)} comparisons (Holm)"
        make = _effect if of_all < LEVEL else _no_effect
        yield make(row, metric, test, as_best if len(tested) > 1 else "")
    elif compared:
        row, metric, _ = compared[0]
        change = row["change"][metric]
        yield Headline(
            f"{begun(intervention(row))} changes {metric_text(metric)} on {row['benchmark']} by "
            f"{change_in_words(metric, change['effect'])}. Whether these neurons are the reason is unknown: "
            "there are no random neurons to compare with.",
            f"p {p_text(change['p_value'])} over {counted(change['n_questions'], 'question')}, against the "
            "unmasked model only.",
            "Random neurons of the same modules and layers, treated in the same way (--random-baseline 10).",
        )


def _effect(row: Mapping[str, Any], metric: str, test: Mapping[str, Any], as_best: str) -> Headline:
    change, effect = row["change"][metric], test["effect"]
    name, size = metric_text(metric), change_in_words(metric, effect, signed=False)
    random = intervention(row, random=True)
    if change["effect"] * effect > 0:
        does = f"{'raises' if effect > 0 else 'lowers'} {name} on {row['benchmark']} by {size} more than"
    else:  # random neurons change it in the other direction, or more
        does = f"leaves {name} on {row['benchmark']} {size} {'higher' if effect > 0 else 'lower'} than"
    claim = f"{begun(intervention(row))} {does} {random} does."
    if _is_format(row):
        claim += " Most of the lost accuracy is lost answer format, not knowledge."
    return Headline(
        claim,
        f"{_ps(row, metric)}{as_best}; the whole change is {change_in_words(metric, change['effect'])}"
        f"{_interval(metric, change)}.",
        "Repeating this with other questions, wordings or models: it rests on "
        f"{counted(change['n_questions'], 'question')} of {row['benchmark']}.",
        is_finding=True,
    )


def _no_effect(row: Mapping[str, Any], metric: str, test: Mapping[str, Any], as_best: str) -> Headline:
    change = row["change"][metric]
    seen = change.get("detectable")
    could = (
        "More questions and more random sets."
        if seen is None
        else f"More questions: with {counted(change['n_questions'], 'question')}, only a change of "
        f"{change_in_words(metric, seen, signed=False)} or more would be detected in four of five studies."
    )
    does = "clearly change" if row["factor"] > 1 else "lower" if test["effect"] > 0 else "clearly lower"
    return Headline(
        f"Nothing found: {intervention(row)} does not {does} {metric_text(metric)} on {row['benchmark']} "
        f"more than {intervention(row, random=True)} does.",
        f"{_ps(row, metric)}{as_best}; the difference is {change_in_words(metric, test['effect'])}"
        f"{_interval(metric, test)}.",
        could,
    )


def _ps(row: Mapping[str, Any], metric: str) -> str:
    """Both tests: over random sets, and over questions."""
    test = row["against_random"][metric]
    p, questions_p = tested_p(row, metric)
    sets = counted(test["n_random"], "random set")
    if row["factor"] > 1:
        return (
            f"p {p_text(p)} over {sets}, p {p_text(questions_p)} over questions against the unmasked model, "
            "both two-sided"
        )
    over = f"p {p_text(adjusted_p(test))} over {sets}"
    return f"{over}, p {p_text(questions_p)} over questions" if "questions_p" in test else over


def _interval(metric: str, change: Mapping[str, Any]) -> str:
    ends = interval_in_words(metric, change["interval"])
    return f" (95 % interval {ends})" if ends else ""


def _is_format(row: Mapping[str, Any]) -> bool:
    loss = row["loss"]
    return bool(loss) and loss["format"]["effect"] > MOSTLY * loss["accuracy"]["effect"] > 0


def _of_arms(sources: Sources) -> Iterator[Headline]:
    for document in sources.arms:
        yield Headline(
            training_effect(document, document["arms"][0]["arm"]),
            f"Intervals and p-values are over questions and {counted(len(document['seeds']), 'seed')}.",
            "Other seeds, other tasks, and benchmarks of other cultures.",
        )


def _of_sets(sources: Sources) -> Iterator[Headline]:
    for neurons in sources.neuron_sets:
        n = counted(len(neurons.neurons), "neuron")
        change = "Mask these neurons, and as many random ones, on questions not used to select them."
        for test in neurons.method.get("significance", ()):
            survive, selected = test["selected_significant"], test["selected"]
            questions = f", {counted(test['n_questions'], 'question')}" if test.get("n_questions") else ""
            yield Headline(
                f"{survive:,} of {selected:,} selected neurons of {neurons.name} survive a false discovery "
                "rate "
                f"of {test['fdr']:g}. What the model loses without them has not been measured.",
                f"{test['test']}{questions}.",
                change,
                is_finding=survive > 0,
            )
        yield Headline(
            f"{neurons.name} has {n} of {model_name(neurons.model)}. There is no evidence yet that they "
            "matter: the inputs have no test and no mask of them.",
            "Unknown: a selection always selects something.",
            change,
        )


def _of_validations(sources: Sources) -> Iterator[Headline]:
    for document in sources.validations:
        yield Headline(
            f"Methods were compared on known neurons in the world {document.get('world', '?')}.",
            "The section below shows the lowest and the highest value over the seeds.",
            "More seeds and other worlds.",
        )


def _of_runs(sources: Sources) -> Headline:
    scored = "; ".join(
        f"{model_name(run.model)} on {', '.join(run.benchmarks)}: {run.layout.n_neurons:,} neurons"
        for run in sources.runs
    )
    return Headline(
        f"Neurons were scored, but none are selected yet ({scored})."
        if scored
        else "Nothing was measured yet.",
        "A score is not evidence: the highest of many scores is always high.",
        "Select neurons, test them, and compare masking them with masking random ones.",
    )
