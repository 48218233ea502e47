"""Findings and caveats in plain sentences, computed from the inputs of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from culnig.core.questions import count_by_culture, count_questions
from culnig.core.text import counted, span
from culnig.evaluation.conditions import UNMASKED
from culnig.evaluation.stored import Evaluation
from culnig.evaluation.verdicts import LEVEL, adjusted_p, beyond_random, rank_text
from culnig.reporting.sources import Sources, changes_of, masked_rows, rows_of
from culnig.reporting.tables import number_text
from culnig.selection.neuron_set import NeuronSet
from culnig.store.warnings import run_warnings

FEW_QUESTIONS = 100
LOW_AGREEMENT = 0.5
_MOST_SENTENCES = 8
"""Sentences about one evaluation; more are only counted."""
_METRIC = "p_gold"


def findings(sources: Sources) -> list[str]:
    """What was selected, what masking changed and what training cost, one sentence each."""
    sentences = []
    for sets in _by_method(sources.neuron_sets):
        sentences += [_selected(sets), *_survivors(sets)]
    for evaluation in sources.evaluations:
        effects = [_effect(row) for row in masked_rows(rows_of(evaluation))]
        sentences += effects[:_MOST_SENTENCES]
        if len(effects) > _MOST_SENTENCES:
            more = len(effects) - _MOST_SENTENCES
            sentences.append(f"{more} more masks of {evaluation.folder.name} are shown below.")
        for matrix in evaluation.results.get("matrix", ()):
            if matrix["metric"] == _METRIC:
                sentences.append(_selectivity(matrix))
    for document in sources.arms:
        arms = dict.fromkeys(arm["arm"] for arm in document["arms"])
        sentences += [_training_effect(document, arm) for arm in arms]
    return sentences or [
        f"{run.model} was scored on {', '.join(run.benchmarks)}: {run.layout.n_neurons:,} neurons in "
        f"{run.layout.n_layers} layers."
        for run in sources.runs
    ]


def caveats(sources: Sources) -> list[str]:
    """Reasons for caution with their figures, each stated once."""
    sentences = [*_of_inputs(sources)]
    for sets in _by_method(sources.neuron_sets):
        sentences += _of_sets(sets)
    for evaluation in sources.evaluations:
        sentences += _of_evaluation(evaluation)
    for document in sources.arms:
        sentences += _of_training(document)
    return list(dict.fromkeys(sentences))


def _by_method(sets: Sequence[NeuronSet]) -> list[list[NeuronSet]]:
    """Sets grouped by model and method, in the given order."""
    groups: dict[tuple[str, str], list[NeuronSet]] = {}
    for neurons in sets:
        key = (neurons.model, str(neurons.method.get("name", "an unknown method")))
        groups.setdefault(key, []).append(neurons)
    return list(groups.values())


def _names(sets: Sequence[NeuronSet]) -> str:
    """Names of sets; of many, only the first two and the number of the others."""
    names = [neurons.name for neurons in sets]
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more sets"


def _signed(value: float) -> str:
    return number_text(value, "+.4f")


def _p(value: float) -> str:
    return f"p {number_text(value, 'p')}"


def _selected(sets: Sequence[NeuronSet]) -> str:
    counts = [len(neurons.neurons) for neurons in sets]
    layers = sorted({layer for neurons in sets for _, layer in neurons.count_by_module_and_layer()})
    extent = ""
    if layers:
        noun = "layer" if len(layers) == 1 else "layers"
        extent = f", in {noun} {span(layers[0], layers[-1])}"
    return (
        f"{_names(sets)}: {span(min(counts), max(counts))} neurons of {sets[0].model}, selected with the "
        f"method {sets[0].method.get('name', 'unknown')}{extent}."
    )


def _survivors(sets: Sequence[NeuronSet]) -> Iterator[str]:
    """How many of the selected neurons survive each test, one sentence per kind of test."""
    tests = [(neurons, test) for neurons in sets for test in neurons.method.get("significance", ())]
    for kind in dict.fromkeys((test["against"], test["test"], test["fdr"]) for _, test in tests):
        own = [pair for pair in tests if (pair[1]["against"], pair[1]["test"], pair[1]["fdr"]) == kind]
        survive = [test["selected_significant"] for _, test in own]
        selected = [test["selected"] for _, test in own]
        questions = [test["n_questions"] for _, test in own if test.get("n_questions")]
        over = f", {span(min(questions), max(questions))} questions" if questions else ""
        against = "their control" if kind[0] == "control" else "the other cultures"
        yield (
            f"{_names([neurons for neurons, _ in own])}: {span(min(survive), max(survive))} of "
            f"{span(min(selected), max(selected))} selected neurons survive the test against {against} at a "
            f"false discovery rate of {kind[2]:g} ({kind[1]}{over})."
        )


def _effect(row: dict[str, Any]) -> str:
    metric, name = (_METRIC, "P(gold)") if _METRIC in row["change"] else ("accuracy", "accuracy")
    change, against = row["change"][metric], (row["against_random"] or {}).get(metric)
    low, high = change["interval"]
    interval = "" if low is None else f" (95 % interval {_signed(low)} to {_signed(high)})"
    verb = "Masking" if row["factor"] == 0 else f"Scaling by {row['factor']:g}"
    sentence = (
        f"{verb} {row['condition']} ({row['n_neurons']:,} neurons) changes {name} on {row['benchmark']} by "
        f"{_signed(change['effect'])}{interval}"
    )
    if against is None:
        return f"{sentence}, {_p(change['p_value'])}; there are no random neurons to compare with."
    return f"{sentence}. {_against_random(against)}"


def _against_random(test: dict[str, Any]) -> str:
    """The verdict: the prediction t, adjusted for several benchmarks, and the test over questions."""
    p = adjusted_p(test)
    more = "more than" if beyond_random(test) else "not clearly more than"
    if p < LEVEL and more != "more than":
        more = f"not clearly for other questions ({_p(test['questions_p'])}) more than"
    return (
        f"Compared with {counted(test['n_random'], 'random set')}, the difference is "
        f"{_signed(test['effect'])} ({_p(p)}; {rank_text(test)}): {more} the effect of masking any neurons."
    )


def _training_effect(document: dict[str, Any], arm: str) -> str:
    changes = [
        f"{number_text(row['change']['effect'], '+.1%')} on {row['benchmark']} ({_p(row['p_holm'])})"
        for row in changes_of(document, "accuracy")
        if row["arm"] == arm
    ]
    return (
        f"Training {arm} on {document['task']} changes accuracy by {', '.join(changes)}; p is corrected for "
        "all arms and benchmarks (Holm)."
    )


def _selectivity(matrix: dict[str, Any]) -> str:
    specific = matrix["dominance_p"] < LEVEL and matrix["dominance"] > 0
    verdict = "are specific to" if specific else "are no more specific than chance to"
    return (
        f"The masks {verdict} their own cultures: P(gold) of a mask's own culture changes by "
        f"{_signed(-matrix['dominance'])} compared with the other cultures ({_p(matrix['dominance_p'])}, "
        f"{len(matrix['masked'])} cultures)."
    )


def _of_inputs(sources: Sources) -> Iterator[str]:
    if len(sources.models) > 1:
        yield (
            f"The inputs come from {len(sources.models)} models ({', '.join(sources.models)}), whose results "
            "are shown side by side."
        )
    for neurons in sources.neuron_sets:
        if sources.runs and sources.run_of(neurons) is None:
            yield f"No given run has the layout of {neurons.name}, so its neurons have no scores by culture."
    for run in sources.runs:
        yield from map(str, run_warnings(run))
        for stored in run.with_role("target"):
            outcomes = run.outcomes(stored.name)
            of_cultures = list(count_by_culture(outcomes).values())
            fewest = min(of_cultures or stored.items_of_culture, default=0)  # imported scores: only items
            if fewest < FEW_QUESTIONS:
                unit = "question" if of_cultures else "item"
                of = (
                    f" of {counted(count_questions(outcomes), 'independent question')}" if of_cultures else ""
                )
                yield (
                    f"Few {unit}s: {stored.name} in {run.folder.name} has {stored.n_items:,} items{of}, for "
                    f"some cultures only {counted(fewest, unit)}. Their scores rest on few {unit}s."
                )
        if not run.with_role("control"):
            yield (
                f"{run.folder.name} has no control, so its scores include the effect of the question format."
            )


def _of_sets(sets: Sequence[NeuronSet]) -> Iterator[str]:
    if without := [neurons for neurons in sets if neurons.sources and not _had_exclusion(neurons)]:
        yield (
            f"Selected without an exclusion: {_names(without)}. Some of these neurons may only recognize "
            "country names."
        )
    if untested := [neurons for neurons in sets if "stability" not in neurons.method]:
        yield (
            f"The stability of {_names(untested)} was not tested; select with --stability to "
            "see how much of the selection is chance."
        )
    welch = [s for s in sets if any(t.get("repeats_questions") for t in s.method.get("significance", ()))]
    if welch:
        yield (
            f"Welch's test of {_names(welch)} takes the items of a question as independent, so its p-values "
            "are too small; score with --level item to permute questions."
        )
    for neurons in sets:
        yield from _of_stability(neurons)


def _had_exclusion(neurons: NeuronSet) -> bool:
    return any(source.get("benchmarks", {}).get("exclusion") for source in neurons.sources)


def _of_stability(neurons: NeuronSet) -> Iterator[str]:
    stability = neurons.method.get("stability") or {}
    for agreement in stability.get("agreement", ()):
        if agreement["jaccard"] < LOW_AGREEMENT:
            chance = agreement["by_chance"]
            expected = "" if chance is None else f"; by chance it would be {chance:.2f}"
            yield (
                f"Low stability: selections of {neurons.name} from other items ({agreement['kind']}) have a "
                f"Jaccard index of {agreement['jaccard']:.2f}{expected}."
            )
    if 2 * stability.get("selected_stable", 0) < stability.get("selected", 0):
        yield (
            f"Low stability: only {stability['selected_stable']:,} of {stability['selected']:,} neurons of "
            f"{neurons.name} are selected in at least {stability['level']:.0%} of the resamples."
        )


def _of_evaluation(evaluation: Evaluation) -> Iterator[str]:
    rows, name = rows_of(evaluation), evaluation.folder.name
    yield from map(str, evaluation.warnings)
    for row in rows:
        if row["condition"] == UNMASKED:
            yield from _of_benchmark(row)
    masked = masked_rows(rows)
    if masked and not any(row["against_random"] for row in masked):
        yield (
            f"{name} has no random baselines, so an effect may be that of masking any neurons. Evaluate with "
            "--random-baseline 10."
        )
    yield from _of_format_loss([row for row in masked if _loses_format(row)], name)
    fading = [row for row in masked if row["p_value"] < LEVEL <= (row["p_holm"] or 0)]
    if fading:
        yield (
            f"{counted(len(fading), 'change')} of accuracy in {name} "
            f"{'is' if len(fading) == 1 else 'are'} significant alone, but not after correction for several "
            "benchmarks (Holm)."
        )
    benchmarks = evaluation.results.get("benchmarks", {})
    if shared := [key for key, about in benchmarks.items() if about.get("split") in ("all", "identify")]:
        yield (
            f"{', '.join(shared)} in {name} includes items of the identify split: neurons may have been "
            "evaluated on the questions that they were selected with."
        )


def _of_format_loss(rows: Sequence[dict[str, Any]], name: str) -> Iterator[str]:
    for row in rows[:_MOST_SENTENCES]:
        loss = row["loss"]
        yield (
            f"Format loss: with {row['condition']} masked, {loss['format']['effect']:.1%} of accuracy on "
            f"{row['benchmark']} is lost because the model no longer answers with a label, and "
            f"{loss['knowledge']['effect']:.1%} because another label wins."
        )
    if len(rows) > _MOST_SENTENCES:
        yield f"Format loss: the same is true of {len(rows) - _MOST_SENTENCES} more masks of {name}."


def _loses_format(row: dict[str, Any]) -> bool:
    loss = row["loss"]
    return bool(loss) and loss["format"]["effect"] > max(0.0, loss["knowledge"]["effect"])


def _of_benchmark(row: dict[str, Any]) -> Iterator[str]:
    if row["n_questions"] < FEW_QUESTIONS:
        yield (
            f"Small sample: {row['benchmark']} has {row['n']:,} items of "
            f"{counted(row['n_questions'], 'independent question')}; intervals are wide, and effects of a "
            "few points cannot be detected."
        )


def _of_training(document: dict[str, Any]) -> Iterator[str]:
    if len(document["seeds"]) == 1:
        yield (
            f"One seed: the gains and losses of training on {document['task']} may depend on the order of "
            "the examples. Train with --seeds 3."
        )
    elif any("seeds_p" not in row["change"] for row in document["changes"]):
        yield (
            f"An earlier version compared the arms trained on {document['task']}: its intervals and p-values "
            "take the seeds as fixed, so they do not show whether another seed would do the same."
        )
    if all(row["kind"] != "culture" for row in document["changes"]):
        yield (
            f"The arms trained on {document['task']} were not evaluated on a benchmark of cultural "
            "questions, so their cost is unknown. Add such a benchmark with --benchmark."
        )
