"""Reasons for caution with the results of a report, computed from its inputs, the most serious first.

First what leaves nothing to report (no significant neurons, few questions, answers at chance), then other
explanations of the numbers (lost format, unstable selections), then everything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from culnig.core.quantities import change_in_words
from culnig.core.questions import count_by_culture, count_questions
from culnig.core.text import counted
from culnig.evaluation.conditions import UNMASKED
from culnig.evaluation.stored import Evaluation
from culnig.evaluation.verdicts import LEVEL
from culnig.reporting.sources import Sources, masked_rows, rows_of
from culnig.reporting.summary import AGAINST, MOST_SENTENCES, by_method, names_of
from culnig.selection.neuron_set import NeuronSet
from culnig.store.warnings import NumberWarning, run_warnings

FEW_QUESTIONS = 100
LOW_AGREEMENT = 0.5

_TESTED_FOR_STABILITY = ("general", "specific")
"""Methods of `select` that have --stability."""
WEIGHTS = ("stops", "survivors", "questions", "chance", "format", "stability", "baselines", "rest")
"""Kinds of caveats, the most serious first."""


class Caveat(NamedTuple):
    """A reason for caution."""

    kind: str
    """One of WEIGHTS."""
    text: str


def caveats(sources: Sources) -> list[str]:
    """Reasons for caution with their figures, each stated once, the most serious first."""
    raised = [*_of_inputs(sources)]
    for sets in by_method(sources.neuron_sets):
        raised += _of_sets(sets)
    for evaluation in sources.evaluations:
        raised += _of_evaluation(evaluation)
    for document in sources.arms:
        raised += _of_training(document)
    raised.sort(key=lambda caveat: WEIGHTS.index(caveat.kind))
    return list(dict.fromkeys(caveat.text for caveat in raised))


def _of_warning(warning: NumberWarning) -> Caveat:
    kind = "stops" if warning.stops_selection else warning.kind if warning.kind in WEIGHTS else "rest"
    return Caveat(kind, str(warning))


def _of_survivors(sets: Sequence[NeuronSet]) -> Iterator[Caveat]:
    """Selections of which fewer than half of the neurons are significant."""
    for neurons in sets:
        for test in neurons.method.get("significance", ()):
            survive, selected = test["selected_significant"], test["selected"]
            if not test["is_rule"] and 2 * survive < selected:
                yield Caveat(
                    "survivors",
                    f"{survive:,} of {selected:,} selected neurons of {neurons.name} survive the test "
                    "against "
                    f"{AGAINST[test['against']]} at a false discovery rate of {test['fdr']:g}; the rest may "
                    "be "
                    "selected by chance.",
                )


def _of_inputs(sources: Sources) -> Iterator[Caveat]:
    if len(sources.models) > 1:
        yield Caveat(
            "rest",
            f"The inputs come from {len(sources.models)} models ({', '.join(sources.model_names)}), whose "
            "results are shown side by side.",
        )
    records = [run.record for run in sources.runs] + [own.results for own in sources.evaluations]
    made_by = {record.get("versions", {}).get("culnig-engine") for record in (*records, *sources.arms)}
    if len(made_by := made_by - {None}) > 1:
        yield Caveat(
            "rest",
            f"The inputs were made by {len(made_by)} versions of culnig-engine: "
            f"{', '.join(sorted(made_by))}.",
        )
    for neurons in sources.neuron_sets:
        if sources.runs and sources.run_of(neurons) is None:
            yield Caveat(
                "rest",
                f"No given run has the layout of {neurons.name}, so its neurons have no scores by culture.",
            )
    for run in sources.runs:
        yield from map(_of_warning, run_warnings(run))
        for stored in run.with_role("target"):
            outcomes = run.outcomes(stored.name)
            of_cultures = list(count_by_culture(outcomes).values())
            fewest = min(of_cultures or stored.items_of_culture, default=0)  # imported scores: only items
            if fewest < FEW_QUESTIONS:
                unit = "question" if of_cultures else "item"
                n_questions = count_questions(outcomes)
                of = f" of {counted(n_questions, 'independent question')}" if of_cultures else ""
                some = "" if fewest == n_questions else f", for some cultures only {counted(fewest, unit)}"
                yield Caveat(
                    "questions",
                    f"Few {unit}s: {stored.name} in {run.folder.name} has {stored.n_items:,} items{of}"
                    f"{some}. Scores rest on few {unit}s.",
                )
        if not run.with_role("control"):
            yield Caveat(
                "rest",
                f"{run.folder.name} has no control, so its scores include the effect of the question format.",
            )


def _of_sets(sets: Sequence[NeuronSet]) -> Iterator[Caveat]:
    selected = [neurons for neurons in sets if neurons.method.get("name") != "random"]
    if without := [neurons for neurons in selected if neurons.sources and not _had_exclusion(neurons)]:
        yield Caveat(
            "rest",
            f"Selected without an exclusion: {names_of(without)}. Some of these neurons may only recognize "
            "country names.",
        )
    testable = [neurons for neurons in sets if neurons.method.get("name") in _TESTED_FOR_STABILITY]
    if untested := [neurons for neurons in testable if "stability" not in neurons.method]:
        yield Caveat(
            "stability",
            f"The stability of {names_of(untested)} was not tested; select with --stability to "
            "see how much of the selection is chance.",
        )
    welch = [s for s in sets if any(t.get("repeats_questions") for t in s.method.get("significance", ()))]
    if welch:
        yield Caveat(
            "rest",
            f"Welch's test of {names_of(welch)} takes the items of a question as independent, so its "
            "p-values "
            "are too small; score with --level item to permute questions.",
        )
    yield from _of_survivors(sets)
    for neurons in sets:
        yield from _of_stability(neurons)


def _had_exclusion(neurons: NeuronSet) -> bool:
    return any(source.get("benchmarks", {}).get("exclusion") for source in neurons.sources)


def _of_stability(neurons: NeuronSet) -> Iterator[Caveat]:
    stability = neurons.method.get("stability") or {}
    for agreement in stability.get("agreement", ()):
        if agreement["jaccard"] < LOW_AGREEMENT:
            chance = agreement["by_chance"]
            expected = "" if chance is None else f"; by chance it would be {chance:.2f}"
            yield Caveat(
                "stability",
                f"Low stability: selections of {neurons.name} from other items ({agreement['kind']}) have a "
                f"Jaccard index of {agreement['jaccard']:.2f}{expected}.",
            )
    if 2 * stability.get("selected_stable", 0) < stability.get("selected", 0):
        yield Caveat(
            "stability",
            f"Low stability: only {stability['selected_stable']:,} of {stability['selected']:,} neurons of "
            f"{neurons.name} are selected in at least {100 * stability['level']:g} % of the resamples.",
        )


def _of_evaluation(evaluation: Evaluation) -> Iterator[Caveat]:
    rows, name = rows_of(evaluation), evaluation.folder.name
    yield from map(_of_warning, evaluation.warnings)
    for row in rows:
        if row["condition"] == UNMASKED:
            yield from _of_benchmark(row)
    masked = masked_rows(rows)
    if masked and not any(row["against_random"] for row in masked):
        yield Caveat(
            "baselines",
            f"{name} has no random baselines, so an effect may be that of masking any neurons. Evaluate with "
            "--random-baseline 10.",
        )
    yield from _of_format_loss([row for row in masked if _loses_format(row)], name)
    fading = [row for row in masked if row["p_value"] < LEVEL <= (row["p_holm"] or 0)]
    if fading:
        yield Caveat(
            "rest",
            f"{counted(len(fading), 'change')} of accuracy in {name} "
            f"{'is' if len(fading) == 1 else 'are'} significant alone, but not after correction for several "
            "benchmarks (Holm).",
        )
    benchmarks = evaluation.results.get("benchmarks", {})
    if shared := [key for key, about in benchmarks.items() if about.get("split") in ("all", "identify")]:
        yield Caveat(
            "rest",
            f"{', '.join(shared)} in {name} includes items of the identify split: neurons may have been "
            "evaluated on the questions that were used to select them.",
        )


def _of_format_loss(rows: Sequence[dict[str, Any]], name: str) -> Iterator[Caveat]:
    for row in rows[:MOST_SENTENCES]:
        loss = row["loss"]
        yield Caveat(
            "format",
            f"Format loss: with {row['condition']} masked, "
            f"{change_in_words('accuracy', loss['format']['effect'], signed=False)} of accuracy "
            "on "
            f"{row['benchmark']} is lost because the model no longer answers with a label, and "
            f"{_of_knowledge(loss)}.",
        )
    if len(rows) > MOST_SENTENCES:
        yield Caveat(
            "format", f"Format loss: the same is true of {len(rows) - MOST_SENTENCES} more masks of {name}."
        )


def _of_knowledge(loss: dict[str, Any]) -> str:
    """What another label won of the accuracy, or that none did."""
    lost = loss["knowledge"]["effect"]
    if lost <= 0:
        return "nothing because another label wins"
    return f"{change_in_words('accuracy', lost, signed=False)} because another label wins"


def _loses_format(row: dict[str, Any]) -> bool:
    loss = row["loss"]
    if not loss or loss["accuracy"]["effect"] <= 0:  # format lost what knowledge won
        return False
    return bool(loss["format"]["effect"] > max(0.0, loss["knowledge"]["effect"]))


def _of_benchmark(row: dict[str, Any]) -> Iterator[Caveat]:
    if row["n_questions"] < FEW_QUESTIONS:
        yield Caveat(
            "questions",
            f"Small sample: {row['benchmark']} has {row['n']:,} items of "
            f"{counted(row['n_questions'], 'independent question')}; intervals are wide, and effects of a "
            "few points cannot be detected.",
        )


def _of_training(document: dict[str, Any]) -> Iterator[Caveat]:
    if len(document["seeds"]) == 1:
        yield Caveat(
            "rest",
            f"One seed: the gains and losses of training on {document['task']} may depend on the order of "
            "the examples. Train with --seeds 3.",
        )
    elif any("seeds_p" not in row["change"] for row in document["changes"]):
        yield Caveat(
            "rest",
            f"An earlier version compared the arms trained on {document['task']}: its intervals and p-values "
            "take the seeds as fixed, so they do not show whether another seed would do the same.",
        )
    if all(row["kind"] != "culture" for row in document["changes"]):
        yield Caveat(
            "rest",
            f"The arms trained on {document['task']} were not evaluated on a benchmark of cultural "
            "questions, so their cost is unknown. Add such a benchmark with --benchmark.",
        )
