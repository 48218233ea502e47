"""Paired comparisons of conditions from stored evaluations; no model is needed.

All statistics are computed from the items, so folders of earlier versions get the tests of this version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from culnig.core.outcomes import Outcomes
from culnig.core.questions import count_questions
from culnig.errors import InputError, MismatchError, argument
from culnig.evaluation.conditions import UNMASKED
from culnig.evaluation.results import adjusted, comparison, random_comparison
from culnig.evaluation.stored import Evaluation, open_evaluation
from culnig.store.prompts import prompts_of, reason


def compare(
    *evaluations: Evaluation | Path | str, conditions: Sequence[str] = (), against: str | None = None
) -> list[dict[str, Any]]:
    """Paired comparisons, one row per benchmark and condition, ready for JSON.

    With one evaluation, each neuron set is compared with the unmasked model and its random baselines. With
    several, each condition of the later ones is compared with the same condition of the first, over the same
    items. `conditions` restricts the comparison, `against` names another condition to compare with.

    MismatchError if the items differ, UnknownNameError for a condition that an evaluation lacks.
    """
    opened = [own if isinstance(own, Evaluation) else open_evaluation(own) for own in evaluations]
    if not opened:
        raise InputError("nothing to compare; give one evaluation or several")
    first, *later = opened
    if later:
        return [row for second in later for row in compare_between(first, second, conditions, against)]
    return compare_within(first, conditions, against or UNMASKED)


def compare_within(
    evaluation: Evaluation, conditions: Sequence[str] = (), against: str = UNMASKED
) -> list[dict[str, Any]]:
    """Each condition (by default each set) minus `against`, in every benchmark, ready for JSON."""
    against = evaluation.check(against)
    chosen = [evaluation.check(name) for name in conditions]
    chosen = chosen or [name for name in evaluation.sets if name != against]
    if not chosen:
        raise InputError(
            f"{evaluation.folder} has only the condition {against!r}; evaluate with "
            f"{argument('neuron_sets')}, or give a second evaluation to compare with"
        )
    rows, seed = [], evaluation.seed
    for benchmark in evaluation.benchmarks:
        for condition in chosen:
            after = evaluation.answers[benchmark, condition]
            random = [evaluation.answers[benchmark, name] for name in evaluation.baselines(condition)]
            rows.append(
                _row(benchmark, condition, against, evaluation.answers[benchmark, against], after, seed)
                | {"against_random": random_comparison(after, random, seed) if random else None}
            )
    return adjusted(rows)


def with_current_tests(evaluation: Evaluation) -> Evaluation:
    """An evaluation whose rows have the tests of this version; those of an earlier version from its items.

    Earlier versions took the mean of the random baselines as exact.
    """
    if has_current_tests(evaluation.rows) or not evaluation.answers or not evaluation.sets:
        return evaluation
    compared = {(row["benchmark"], row["condition"]): row for row in compare_within(evaluation)}
    tests = ("change", "loss", "mcnemar", "against_random", "p_value", "p_holm")
    rows = []
    for row in evaluation.rows:
        current = compared.get((row["benchmark"], row["condition"]), {})
        rows.append({**row, **{name: current[name] for name in tests if current}})
    return replace(evaluation, results={**evaluation.results, "rows": rows})


def has_current_tests(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether rows have the tests of this version; earlier ones did not write the interval looked for."""
    changes = [change for row in rows for change in (row.get("change") or {}).values()]
    return all("bootstrap_interval" in change for change in changes)


def compare_between(
    first: Evaluation,
    second: Evaluation,
    conditions: Sequence[str] = (),
    against: str | None = None,
) -> list[dict[str, Any]]:
    """Conditions of `second` minus the same conditions of `first` (or minus `against` there).

    By default the conditions are those of both, without baselines. MismatchError if the items of a shared
    benchmark or the date in their prompts differ, and for models of one layout also if the template or the
    tokens do; models of other layouts have prompts of their own. InputError if the two share no benchmark
    or condition.
    """
    shared = [name for name in first.benchmarks if name in second.benchmarks]
    if not shared:
        raise InputError(
            f"{first.folder} has {', '.join(first.benchmarks)} and {second.folder} has "
            f"{', '.join(second.benchmarks)}: no benchmark is in both"
        )
    for name in shared:
        _check_same_items(first, second, name)
    against = None if against is None else first.check(against)
    chosen = [second.check(name) for name in conditions] or [
        name for name in (UNMASKED, *second.sets) if against is not None or name in first.conditions
    ]
    for condition in chosen:
        first.check(against or condition)
    return adjusted(
        [
            _row(
                benchmark,
                f"{second.folder.name}: {condition}",
                f"{first.folder.name}: {against or condition}",
                first.answers[benchmark, against or condition],
                second.answers[benchmark, condition],
                second.seed,
            )
            | {"against_random": None}
            for benchmark in shared
            for condition in chosen
        ]
    )


def _check_same_items(first: Evaluation, second: Evaluation, benchmark: str) -> None:
    ids = [evaluation.answers[benchmark, UNMASKED].id.tolist() for evaluation in (first, second)]
    hashes = [
        evaluation.results.get("benchmarks", {}).get(benchmark, {}).get("items_hash")
        for evaluation in (first, second)
    ]
    if ids[0] != ids[1] or (None not in hashes and hashes[0] != hashes[1]):
        raise MismatchError(
            f"{first.folder} and {second.folder} do not hold the same items of {benchmark!r} ({len(ids[0])} "
            f"and {len(ids[1])} items, {len(set(ids[0]) & set(ids[1]))} ids in both); a paired comparison "
            f"needs both evaluated with the same {argument('split')}, {argument('limit')}, "
            f"{argument('sample')}, {argument('cultures')} and data"
        )
    prompts = [prompts_of(evaluation.results, benchmark) for evaluation in (first, second)]
    if problem := reason(*prompts, same_items=True, same_model=_same_layout(first, second)):
        raise MismatchError(
            f"{first.folder} and {second.folder} did not ask the same in {benchmark!r}: {problem}"
        )


def _same_layout(first: Evaluation, second: Evaluation) -> bool:
    """Whether both are of one model or of versions of it, which read the same prompts."""
    layouts = [evaluation.results.get("model", {}).get("layout_hash") for evaluation in (first, second)]
    return layouts[0] is not None and layouts[0] == layouts[1]


def _row(
    benchmark: str, condition: str, against: str, before: Outcomes, after: Outcomes, seed: int
) -> dict[str, Any]:
    return {
        "benchmark": benchmark,
        "condition": condition,
        "against": against,
        "n": len(after.correct),
        "n_questions": count_questions(after),
        **comparison(before, after, seed),
    }
