"""Findings in plain sentences, computed from the inputs of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from culnig.core.quantities import change_in_words, interval_in_words, p_text
from culnig.core.text import counted, metric_text, span
from culnig.evaluation.verdicts import LEVEL, adjusted_p, beyond_random, rank_text, tested_p
from culnig.models.embedded import model_name
from culnig.reporting.sources import Sources, changes_of
from culnig.selection.neuron_set import NeuronSet

MOST_SENTENCES = 8
"""Sentences about one evaluation; more are only counted."""
_METRIC = "p_gold"
AGAINST = {"control": "their control", "others": "the other cultures"}


def findings(sources: Sources) -> list[str]:
    """What was selected, what masking changed and what training cost, one sentence each."""
    sentences = []
    for sets in by_method(sources.neuron_sets):
        sentences += [_selected(sets), *_survivors(sets)]
    for evaluation in sources.evaluations:
        rows = sources.rows_to_tell(evaluation)
        n_benchmarks = len({row["benchmark"] for row in rows})
        effects = [_effect(row, n_benchmarks) for row in rows]
        sentences += effects[:MOST_SENTENCES]
        if len(effects) > MOST_SENTENCES:
            more = len(effects) - MOST_SENTENCES
            sentences.append(f"{more} more masks of {evaluation.folder.name} are shown below.")
        for matrix in evaluation.results.get("matrix", ()):
            if matrix["metric"] == _METRIC:
                sentences.append(_selectivity(matrix))
    for document in sources.arms:
        arms = dict.fromkeys(arm["arm"] for arm in document["arms"])
        sentences += [training_effect(document, arm) for arm in arms]
    return sentences or [
        f"{model_name(run.model)} was scored on {', '.join(run.benchmarks)}: "
        f"{run.layout.n_neurons:,} neurons in {run.layout.n_layers} layers."
        for run in sources.runs
    ]


def by_method(sets: Sequence[NeuronSet]) -> list[list[NeuronSet]]:
    """Sets grouped by model and method, in the given order."""
    groups: dict[tuple[str, str], list[NeuronSet]] = {}
    for neurons in sets:
        key = (neurons.model, str(neurons.method.get("name", "an unknown method")))
        groups.setdefault(key, []).append(neurons)
    return list(groups.values())


def names_of(sets: Sequence[NeuronSet]) -> str:
    """Names of sets; of many, only the first two and the number of the others."""
    names = [neurons.name for neurons in sets]
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more sets"


def _p(value: float) -> str:
    return f"p {p_text(value)}"


def _selected(sets: Sequence[NeuronSet]) -> str:
    counts = [len(neurons.neurons) for neurons in sets]
    layers = sorted({layer for neurons in sets for _, layer in neurons.count_by_module_and_layer()})
    extent = ""
    if layers:
        noun = "layer" if len(layers) == 1 else "layers"
        extent = f", in {noun} {span(layers[0], layers[-1])}"
    return (
        f"{names_of(sets)}: {span(min(counts), max(counts))} neurons of {model_name(sets[0].model)}, "
        f"selected with the method {sets[0].method.get('name', 'unknown')}{extent}."
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
        yield (
            f"{names_of([neurons for neurons, _ in own])}: {span(min(survive), max(survive))} of "
            f"{span(min(selected), max(selected))} selected neurons survive the test against "
            f"{AGAINST[kind[0]]} at a "
            f"false discovery rate of {kind[2]:g} ({kind[1]}{over})."
        )


def intervention(row: Mapping[str, Any], *, random: bool = False) -> str:
    """What was done to a row's neurons, or to random ones, such as `scaling general (9 neurons) by 2`.

    `of` of a row names its model (`Sources.rows_to_tell`).
    """
    factor, mask = row["factor"], row.get("mask", "scale")
    neurons = "random neurons"
    if not random:
        name = row["condition"].removesuffix(f" ×{factor:g}")
        neurons = f"{name} ({counted(row['n_neurons'], 'neuron')}){row.get('of', '')}"
    return f"masking {neurons}" if factor == 0 or mask != "scale" else f"scaling {neurons} by {factor:g}"


def begun(sentence: str) -> str:
    """A sentence with its first letter in upper case."""
    return sentence[:1].upper() + sentence[1:]


def _effect(row: dict[str, Any], n_benchmarks: int) -> str:
    metric = metric_of(row)
    change, against = row["change"][metric], (row["against_random"] or {}).get(metric)
    ends = interval_in_words(metric, change["interval"])
    interval = f" (95 % interval {ends})" if ends else ""
    sentence = (
        f"{begun(intervention(row))} changes {metric_text(metric)} on {row['benchmark']} by "
        f"{change_in_words(metric, change['effect'])}{interval}"
    )
    if against is None:
        return f"{sentence}, {_p(change['p_value'])}; there are no random neurons to compare with."
    said = _against_scaled if row["factor"] > 1 else _against_random
    return f"{sentence}. {said(row, metric, n_benchmarks)}"


def metric_of(row: dict[str, Any]) -> str:
    """The metric that the effect of a mask is told in."""
    return _METRIC if _METRIC in row["change"] else "accuracy"


def _against_scaled(row: dict[str, Any], metric: str, n_benchmarks: int) -> str:
    """The verdict on neurons that are scaled up, which may raise a metric or lower it."""
    test, (p, questions_p) = row["against_random"][metric], tested_p(row, metric)
    p = min(1.0, n_benchmarks * p)
    more = "more than" if max(p, questions_p) < LEVEL else "not clearly more than"
    return (
        f"Compared with {counted(test['n_random'], 'random set')}, the difference is "
        f"{change_in_words(metric, test['effect'])} ({_p(p)}, two-sided): {more} the effect of scaling any "
        f"neurons by {row['factor']:g}."
    )


def _against_random(row: dict[str, Any], metric: str, n_benchmarks: int) -> str:
    """The verdict: the prediction t, adjusted for several benchmarks, and the test over questions."""
    test = row["against_random"][metric]
    p = adjusted_p(test)
    more = "more than" if beyond_random(test) else "not clearly more than"
    if p < LEVEL and more != "more than":
        more = f"not clearly for other questions ({_p(test['questions_p'])}) more than"
    return (
        f"Compared with {counted(test['n_random'], 'random set')}, the difference is "
        f"{change_in_words(metric, test['effect'])} ({_p(p)}; {rank_text(test)}): {more} the effect of "
        "masking "
        "any neurons."
    )


def training_effect(document: dict[str, Any], arm: str) -> str:
    """What training an arm changed, in accuracy."""
    changes = [
        f"{change_in_words('accuracy', row['change']['effect'])} on {row['benchmark']} ({_p(row['p_holm'])})"
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
        f"{change_in_words(_METRIC, -matrix['dominance'])} compared with the other cultures "
        f"({_p(matrix['dominance_p'])}, "
        f"{len(matrix['masked'])} cultures)."
    )
