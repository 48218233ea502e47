"""What was found in plain words, and what speaks against believing it; every sentence is computed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from culnig.evaluation.conditions import UNMASKED
from culnig.evaluation.stored import Evaluation
from culnig.report.sources import Sources, changes_of, rows_of
from culnig.report.tables import number_text
from culnig.selection.neuron_set import NeuronSet

FEW_QUESTIONS = 100
LOW_AGREEMENT = 0.5
LEVEL = 0.05
_MOST_SAID = 8
_MEASURE = "p_gold"


def findings(sources: Sources) -> list[str]:
    """What was selected, what masking did and what training cost, a sentence each."""
    said = [_selected(sets) for sets in _alike(sources.neuron_sets)]
    for evaluation in sources.evaluations:
        effects = [_effect(row) for row in _masked(evaluation)]
        said += effects[:_MOST_SAID]
        if len(effects) > _MOST_SAID:
            said.append(
                f"{len(effects) - _MOST_SAID} more masks of {evaluation.folder.name} are shown below."
            )
        for matrix in evaluation.results.get("matrix", ()):
            if matrix["metric"] == _MEASURE:
                said.append(_selectivity(matrix))
    for document in sources.arms:
        said += [
            _training_effect(document, arm) for arm in dict.fromkeys(one["arm"] for one in document["arms"])
        ]
    if not said:
        said = [
            f"{run.model} was scored on {', '.join(run.benchmarks)}: {run.layout.n_neurons:,} neurons in "
            f"{run.layout.n_layers} layers."
            for run in sources.runs
        ]
    return said


def caveats(sources: Sources) -> list[str]:
    """Reasons for care, each with its figures; each once."""
    found = [*_of_inputs(sources)]
    for sets in _alike(sources.neuron_sets):
        found += _of_sets(sets)
    for evaluation in sources.evaluations:
        found += _of_evaluation(evaluation)
    for document in sources.arms:
        found += _of_training(document)
    return list(dict.fromkeys(found))


def _alike(sets: Sequence[NeuronSet]) -> list[list[NeuronSet]]:
    """Sets of one model and method together, in the order given."""
    groups: dict[tuple[str, str], list[NeuronSet]] = {}
    for those in sets:
        groups.setdefault((those.model, str(those.method.get("name", "an unknown method"))), []).append(those)
    return list(groups.values())


def _named(sets: Sequence[NeuronSet]) -> str:
    """Names of sets, few in full."""
    names = [those.name for those in sets]
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more sets"


def span(low: int, high: int) -> str:
    """A range of counts, or the one there is."""
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def counted(n: int, word: str) -> str:
    """A number of things, such as `1 seed` and `2 seeds`."""
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"


def _signed(value: float) -> str:
    return number_text(value, "+.4f")


def _selected(sets: Sequence[NeuronSet]) -> str:
    counts = [len(those.neurons) for those in sets]
    size = span(min(counts), max(counts))
    layers = sorted({layer for those in sets for _, layer in those.count_by_module_and_layer()})
    where = "layer" if len(layers) == 1 else "layers"
    extent = f", in {where} {span(layers[0], layers[-1])}" if layers else ""
    return (
        f"{_named(sets)}: {size} neurons of {sets[0].model}, selected by method "
        f"{sets[0].method.get('name', 'unknown')}{extent}."
    )


def _masked(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    for row in rows_of(evaluation):
        if row["change"] and row["like"] is None:
            yield row


def _effect(row: dict[str, Any]) -> str:
    metric, name = (_MEASURE, "P(gold)") if _MEASURE in row["change"] else ("accuracy", "accuracy")
    change = row["change"][metric]
    low, high = change["interval"]
    between = "" if low is None else f" (95 % interval {_signed(low)} to {_signed(high)})"
    verb = "Masking" if row["factor"] == 0 else f"Scaling by {row['factor']:g}"
    said = (
        f"{verb} {row['condition']} ({row['n_neurons']:,} neurons) changes {name} on {row['benchmark']} by "
        f"{_signed(change['effect'])}{between}"
    )
    against = (row["against_random"] or {}).get(metric)
    if against is None:
        return (
            f"{said}, p {number_text(change['p_value'], 'p')}; there are no random neurons to compare with."
        )
    verdict = "more than" if against["p_value"] < LEVEL else "not clearly more than"
    return (
        f"{said}. This is {_signed(against['effect'])} beside random neurons (p "
        f"{number_text(against['p_value'], 'p')}): {verdict} masking any neurons does."
    )


def _training_effect(document: dict[str, Any], arm: str) -> str:
    changed = [
        f"{number_text(row['change']['effect'], '+.1%')} on {row['benchmark']} "
        f"(p {number_text(row['p_holm'], 'p')})"
        for row in changes_of(document, "accuracy")
        if row["arm"] == arm
    ]
    return (
        f"Training {arm} on {document['task']} changes accuracy by {', '.join(changed)}; p after correction "
        "for all arms and benchmarks (Holm)."
    )


def _selectivity(matrix: dict[str, Any]) -> str:
    verdict = (
        "The masks fit their own cultures"
        if matrix["dominance_p"] < LEVEL and matrix["dominance"] > 0
        else "The masks do not fit their own cultures better than chance"
    )
    return (
        f"{verdict}: P(gold) of the own culture changes by {_signed(-matrix['dominance'])} beside the others "
        f"(p {number_text(matrix['dominance_p'], 'p')}, {len(matrix['masked'])} cultures)."
    )


def _of_inputs(sources: Sources) -> Iterator[str]:
    if len(sources.models) > 1:
        yield (
            f"The inputs are of {len(sources.models)} models ({', '.join(sources.models)}); figures of "
            "different models stand beside each other."
        )
    for those in sources.neuron_sets:
        if sources.runs and sources.run_of(those) is None:
            yield (
                f"No run given has the layout of {those.name}, so its neurons have no scores by culture here."
            )
    for run in sources.runs:
        for stored in run.with_role("target"):
            fewest = min(stored.items_of_culture, default=0)
            if fewest < FEW_QUESTIONS:
                yield (
                    f"Few items: {stored.name} in {run.folder.name} has {stored.n_items:,} items, as few as "
                    f"{fewest} of a culture. Scores of single cultures rest on these."
                )
        if not run.with_role("control"):
            yield (
                f"{run.folder.name} has no control: its scores contain what any question of this form raises."
            )


def _of_sets(sets: Sequence[NeuronSet]) -> Iterator[str]:
    if bare := [those for those in sets if those.sources and not _had_exclusion(those)]:
        yield (
            f"Selected without an exclusion: {_named(bare)}. They may hold neurons that only know country "
            "names."
        )
    if untested := [those for those in sets if "stability" not in those.method]:
        yield (
            f"The stability of {_named(untested)} was not tested; select with --stability to learn how "
            "much of a selection is chance."
        )
    for those in sets:
        yield from _of_stability(those)


def _had_exclusion(those: NeuronSet) -> bool:
    return any(source.get("benchmarks", {}).get("exclusion") for source in those.sources)


def _of_stability(those: NeuronSet) -> Iterator[str]:
    stability = those.method.get("stability") or {}
    for agreement in stability.get("agreement", ()):
        if agreement["jaccard"] < LOW_AGREEMENT:
            chance = agreement["by_chance"]
            beside = "" if chance is None else f", by chance {chance:.2f}"
            yield (
                f"Low stability: selections of {those.name} from other items ({agreement['kind']}) share a "
                f"Jaccard index of {agreement['jaccard']:.2f}{beside}."
            )
    if 2 * stability.get("selected_stable", 0) < stability.get("selected", 0):
        yield (
            f"Low stability: only {stability['selected_stable']:,} of {stability['selected']:,} neurons of "
            f"{those.name} come up in at least {stability['level']:.0%} of the resamples."
        )


def _of_evaluation(evaluation: Evaluation) -> Iterator[str]:
    rows = rows_of(evaluation)
    for row in rows:
        if row["condition"] == UNMASKED:
            yield from _of_benchmark(row)
    masked = list(_masked(evaluation))
    if masked and not any(row["against_random"] for row in masked):
        yield (
            f"{evaluation.folder.name} has no random baselines: an effect may be that of masking any "
            "neurons. "
            "Evaluate with --random-baseline 10."
        )
    lost = [row for row in masked if _is_format_loss(row)]
    for row in lost[:_MOST_SAID]:
        loss = row["loss"]
        yield (
            f"Format loss: with {row['condition']} masked, {loss['format']['effect']:.1%} of accuracy on "
            f"{row['benchmark']} is lost because the model no longer answers with a label, "
            f"{loss['knowledge']['effect']:.1%} because another label wins."
        )
    if len(lost) > _MOST_SAID:
        yield (
            f"Format loss: the same holds for {len(lost) - _MOST_SAID} more masks of "
            f"{evaluation.folder.name}."
        )
    fading = [row for row in masked if row["p_value"] < LEVEL <= (row["p_holm"] or 0)]
    if fading:
        yield (
            f"{counted(len(fading), 'change')} of accuracy in {evaluation.folder.name} "
            f"{'is' if len(fading) == 1 else 'are'} significant alone but not after correction for several "
            "benchmarks (Holm)."
        )
    splits = {name: about.get("split") for name, about in evaluation.results.get("benchmarks", {}).items()}
    if shared := [name for name, split in splits.items() if split in ("all", "identify")]:
        yield (
            f"{', '.join(shared)} in {evaluation.folder.name} holds items of the identify split: neurons "
            "may be "
            "judged on the questions that found them."
        )


def _of_training(document: dict[str, Any]) -> Iterator[str]:
    if len(document["seeds"]) == 1:
        yield (
            f"One seed: what an arm gained or lost by training on {document['task']} may be that of this "
            "order of examples. Train with --seeds 3."
        )
    if all(row["kind"] != "culture" for row in document["changes"]):
        yield (
            f"The arms trained on {document['task']} were not evaluated on a benchmark that asks for "
            "cultures, so what they cost is not known. Give --benchmark."
        )


def _of_benchmark(row: dict[str, Any]) -> Iterator[str]:
    if row["n_units"] < FEW_QUESTIONS:
        yield (
            f"Small sample: {row['benchmark']} has {row['n']:,} items of "
            f"{counted(row['n_units'], 'independent question')}; intervals are wide and effects of a few "
            "points cannot be seen."
        )
    chance, right = row["chance"], row["option_accuracy"]
    if chance is not None and right is not None:
        error = math.sqrt(chance * (1 - chance) / max(1, row["n_units"]))
        if right < chance + 2 * error:
            yield (
                f"Near chance: the unmasked model picks the right label of {row['benchmark']} in "
                f"{right:.1%} of "
                f"the items, chance is {chance:.1%}. A model that does not know the answers has no knowledge "
                "of them to lose."
            )


def _is_format_loss(row: dict[str, Any]) -> bool:
    loss = row["loss"]
    return bool(loss) and loss["format"]["effect"] > max(0.0, loss["knowledge"]["effect"])
