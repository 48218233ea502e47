"""The work behind `evaluate`: conditions from sets, answers, tables, and the folder they go to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from culnig import registry
from culnig.benchmarks.base import ChosenItems
from culnig.cli.progress import ProgressView
from culnig.core.items import NO_CULTURE
from culnig.selection.neuron_set import NeuronSet

if TYPE_CHECKING:
    from culnig.evaluation.conditions import Condition, Mask
    from culnig.evaluation.runner import Answers
    from culnig.models.base import BoundModel
    from culnig.store.run import Run


def evaluate_into(
    folder: Path,
    bound: BoundModel,
    chosen: dict[str, ChosenItems],
    sets: Sequence[NeuronSet],
    view: ProgressView,
    *,
    factor: float | Sequence[float],
    n_random: int,
    match: Literal["module", "total"],
    token_budget: int,
    mask: Mask = "scale",
    means: Run | None = None,
    shares: Sequence[float] = (1.0,),
    max_new_tokens: int = 64,
    prefix_sharing: bool = True,
    matrix: bool = False,
    resume: bool = False,
) -> dict[str, Any]:
    """Run all conditions with progress, write the evaluation folder, return its `results.json`."""
    from culnig.evaluation.conditions import make_conditions
    from culnig.evaluation.folder import read_results, write_evaluation
    from culnig.evaluation.masks import Replacements
    from culnig.evaluation.matrix import check_present, masks_by_culture
    from culnig.evaluation.means import stored_prompts
    from culnig.evaluation.parts import EvaluationParts
    from culnig.evaluation.runner import run_conditions
    from culnig.evaluation.short_answers import AnswerJudge
    from culnig.scoring.run import describe_model, versions

    judge = AnswerJudge()
    judge.load([item for those in chosen.values() for item in those.items if item.accepted])
    conditions = make_conditions(
        sets, bound.layout, factor=factor, shares=shares, n_random=n_random, match=match, mask=mask
    )
    prompts = None if means is None else stored_prompts(means, bound)
    masks = masks_by_culture(conditions) if matrix else None
    if masks is not None:
        cultural = [name for name, those in chosen.items() if _is_cultural(those)]
        check_present(masks, cultural, {item.culture for n in cultural for item in chosen[n].items})
    record = {
        "model": describe_model(bound),
        "neuron_sets": [
            {
                "name": chosen_set.name,
                "n_neurons": len(chosen_set.neurons),
                "neurons_hash": sha256(chosen_set.flat(bound.layout).tobytes()).hexdigest(),
                "method": chosen_set.method,
            }
            for chosen_set in sets
        ],
        "settings": {
            "factor": factor if isinstance(factor, int | float) else list(factor),
            "mask": mask,
            "means": None if means is None else {"run": means.run_id, "prompts": len(prompts or ())},
            "shares": list(shares),
            "random_baseline": n_random,
            "baseline_match": match,
            "token_budget": token_budget,
            "max_new_tokens": max_new_tokens,
            "prefix_sharing": prefix_sharing,
            "matrix": matrix,
        },
        "lemmatizers": judge.tools,
        "benchmarks": {
            name: {**those.record(), "cultural": _is_cultural(those)} for name, those in chosen.items()
        },
        "versions": versions(bound),
    }
    with EvaluationParts.open(folder, record, list(chosen), conditions, resume=resume) as parts:
        if parts.finished:
            return read_results(folder)
        for name, those in chosen.items():
            view.add(f"evaluate {name}, {len(conditions)} conditions", len(those.items) * len(conditions))
        replacements = None
        if prompts is not None:
            view.say(f"activations in {len(prompts)} prompts of {means.folder if means else ''}")
            replacements = Replacements.of(bound, prompts, conditions, token_budget=token_budget)
        answers = run_conditions(
            bound,
            {name: those.items for name, those in chosen.items()},
            conditions,
            token_budget=token_budget,
            max_new_tokens=max_new_tokens,
            judge=judge,
            prefix_sharing=prefix_sharing,
            replacements=replacements,
            parts=parts,
            say=view.say,
            after_batch=lambda name, condition, n_items: view.advance(
                f"evaluate {name}, {len(conditions)} conditions", n_items
            ),
        )
        for line in lemmatizer_lines(judge.tools):
            view.say(line)
        tables = _tables(answers, record, conditions, masks)
        write_evaluation(folder, {**record, **tables}, tables["rows"], answers, conditions)
        parts.clear()
        return read_results(folder)


def _is_cultural(chosen: ChosenItems) -> bool:
    return any(item.culture != NO_CULTURE for item in chosen.items)


def _tables(
    answers: Answers,
    record: dict[str, Any],
    conditions: Sequence[Condition],
    masks: dict[str, str] | None,
) -> dict[str, Any]:
    """Rows of an evaluation, and its matrix and doses where asked for."""
    from culnig.evaluation.dose import dose_table
    from culnig.evaluation.matrix import selectivity
    from culnig.evaluation.results import metrics_of, result_rows

    benchmarks = list(record["benchmarks"])
    cultural = [name for name in benchmarks if record["benchmarks"][name]["cultural"]]
    tables: dict[str, Any] = {"rows": result_rows(answers, benchmarks, conditions)}
    if masks is not None:
        related = {key: culture.related for key, culture in registry.cultures().items()}
        have = [set(metrics_of(answers[name, conditions[0].name])) for name in cultural]
        tables["matrix"] = [
            selectivity(answers, cultural, masks, related, metric=metric).document()
            for metric in ("accuracy", "option_accuracy", "p_gold")
            if all(metric in names for names in have)
        ]
    if len({(condition.factor, condition.share) for condition in conditions if condition.of_set}) > 1:
        tables["dose"] = [asdict(dose) for dose in dose_table(tables["rows"], cultural)]
    return tables


def lemmatizer_lines(tools: dict[str, dict[str, Any]]) -> list[str]:
    """Which lemmatizer judged the short answers of each language."""
    return [
        f"short answers in {language}: {tool['lemmatizer']} ({tool['package']} {tool['version']})"
        + (f", not installed: {', '.join(tool['missing'])}" if tool["missing"] else "")
        for language, tool in sorted(tools.items())
    ]
