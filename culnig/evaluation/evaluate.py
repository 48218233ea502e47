"""Evaluate a model unmasked, with neuron sets masked, and with random neurons masked, into a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig import registry
from culnig.benchmarks.base import ChosenItems
from culnig.benchmarks.choosing import BenchmarkChoice, read_benchmarks, require_items, without_too_long
from culnig.core.items import NO_CULTURE, SplitChoice
from culnig.core.progress import Progress, Say, Task, no_progress, say_nothing
from culnig.evaluation.conditions import Condition, Mask, make_conditions
from culnig.evaluation.folder import (
    is_finished,
    prepare_evaluation_folder,
    request_to_resume,
    write_evaluation,
)
from culnig.evaluation.parts import open_parts
from culnig.evaluation.request import NeuronSetChoice, Request, SetChoice, chosen_factors, run_with_prompts
from culnig.evaluation.short_answers import AnswerJudge
from culnig.evaluation.stored import Evaluation, open_evaluation
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET
from culnig.inference.encoding import EncodedItem, Encoder
from culnig.inference.generation import DEFAULT_NEW_TOKENS
from culnig.inference.templates import chosen_date
from culnig.models.named import loaded_model
from culnig.models.sharding import check_items
from culnig.provenance import describe_model, versions
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.random import Match
from culnig.store.output_folder import check_modes
from culnig.store.prompts import as_recorded
from culnig.store.record import check_of_all
from culnig.store.run import Run

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from culnig.evaluation.runner import Answers, Parts
    from culnig.evaluation.sharing import Sharing
    from culnig.models.base import BoundModel
    from culnig.models.settings import LoadOptions


def evaluate(
    model: str | Path | BoundModel,
    benchmarks: BenchmarkChoice,
    neuron_sets: NeuronSetChoice,
    out: Path | str,
    *,
    data_dir: Path | str | None = None,
    split: SplitChoice = "test",
    cultures: Sequence[str] = (),
    limit: int | None = None,
    per_culture: int | None = None,
    sample: int | None = None,
    token_budget: int = DEFAULT_TOKEN_BUDGET,
    factors: float | Sequence[float] | None = None,
    mask: Mask = "scale",
    means: Run | Path | str | None = None,
    shares: Sequence[float] = (1.0,),
    dose: bool = False,
    matrix: bool = False,
    random_baseline: int = 0,
    baseline_match: Match = "module",
    seed: int = 0,
    max_new_tokens: int = DEFAULT_NEW_TOKENS,
    prefix_sharing: bool = True,
    skip_too_long: bool = False,
    prompt_date: date | str | None = None,
    check: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = no_progress,
    say: Say = say_nothing,
    **loading: Unpack[LoadOptions],
) -> Evaluation:
    """Evaluate a model under every condition, write the folder `out` and open it.

    Items are chosen as in `read_benchmarks`; `skip_too_long` skips items that are longer than the model
    allows; `prompt_date` (YYYY-MM-DD, by default today) is the date in prompts of chat templates that write
    one. Conditions: the unmasked model; each neuron set at each of `factors` (default 0; with `dose`, a
    series from 0 to 2) and `shares` (of its best neurons); and `random_baseline` random sets beside each,
    matched by `baseline_match` and drawn with the seeds `seed`, `seed` + 1 …; `seed` is also that of
    `sample` and of the resamples of all tests. `mask="mean"` or `"resample"` replaces activations by those
    in the prompts of the run `means` instead. `matrix` compares how each culture's set affects every culture.

    `max_new_tokens` limits written answers; `loading` holds the options of `load_model` for a model given by
    name. `resume` continues an interrupted evaluation. OutputExistsError if the folder is in use,
    MismatchError if it holds another evaluation or a set is of another model, InputError for options that do
    not go together.

    The quick checks of `culnig.verify` come first; a model that fails one is refused with CheckError.
    `check=False` leaves them out; `results.json` records either.
    """
    sets = SetChoice(neuron_sets)
    asked = Request(
        chosen_factors(factors, mask, dose), mask, tuple(shares), random_baseline, baseline_match,
        token_budget, max_new_tokens, prefix_sharing, matrix, seed,
    )  # fmt: skip
    check_modes("an evaluation", resume=resume, overwrite=overwrite)
    asked.check(bool(sets.choices), means is not None, dose)
    day, folder = chosen_date(prompt_date), Path(out)
    inputs = (model, benchmarks, neuron_sets, data_dir, means)
    prepare_evaluation_folder(folder, overwrite=overwrite, resume=resume, inputs=inputs)
    stored = run_with_prompts(means)
    opened = sets.read()
    chosen = read_benchmarks(
        benchmarks, data_dir, split, cultures, limit, per_culture, sample=sample, seed=seed, say=say
    )
    bound = loaded_model(model, say, spreads=True, **loading)
    encoder = Encoder(bound, day)
    if skip_too_long:
        chosen, _ = without_too_long(chosen, encoder.fitting, bound.max_tokens, say)
    _evaluate(
        bound, encoder, chosen, opened, stored, asked, folder, (resume, overwrite), check, progress, say
    )
    evaluation = open_evaluation(folder)
    for warning in evaluation.warnings:
        say(f"Warning: {warning}")
    return evaluation


def _evaluate(
    bound: BoundModel,
    encoder: Encoder,
    chosen: Mapping[str, ChosenItems],
    sets: Sequence[NeuronSet],
    means: Run | None,
    asked: Request,
    folder: Path,
    modes: tuple[bool, bool],
    check: bool,
    progress: Progress,
    say: Say,
) -> None:
    """Run all conditions and write the evaluation folder, unless it is finished already."""
    from culnig.evaluation.matrix import check_present, masks_by_culture
    from culnig.evaluation.means import stored_prompts
    from culnig.verification.quick import check_model

    require_items(chosen)
    check_items(bound.sharding, sum(len(own.items) for own in chosen.values()))
    judge = AnswerJudge()
    judge.load([item for own in chosen.values() for item in own.items if item.accepted])
    conditions = make_conditions(
        sets,
        bound.layout,
        factor=asked.factors,
        shares=asked.shares,
        n_random=asked.random_baseline,
        match=asked.baseline_match,
        mask=asked.mask,
        seed=asked.seed,
    )
    encoded = {name: encoder.encode_answerable(own.items) for name, own in chosen.items()}
    prompts = {name: encoder.record(own) for name, own in encoded.items()}
    replacing = None if means is None else stored_prompts(means, bound, prompts)
    masks = masks_by_culture(conditions) if asked.matrix else None
    if masks is not None:
        cultural = [name for name, own in chosen.items() if _is_cultural(own)]
        check_present(masks, cultural, {item.culture for name in cultural for item in chosen[name].items})
    record = _record(bound, sets, asked.record(means, len(replacing or ())), judge, chosen, prompts)
    resume, overwrite = modes
    before = request_to_resume(folder) if resume else {}
    if before:
        record = as_recorded(record, before)
    sharing: dict[str, Sharing] = {}
    if not (resume and is_finished(folder)):
        some = [each for own in encoded.values() for each in own[:2]]
        now = check_model(bound, some, say, check=check)
        record["check"] = check_of_all([before.get("check"), now] if before else [now])
        sharing = _sharing(bound, encoded, asked, conditions, before, say)
        record["sharing"] = {name: own.record() for name, own in sharing.items()}
    with open_parts(
        bound, folder, record, list(chosen), conditions, resume=resume, overwrite=overwrite
    ) as parts:
        if parts.finished:
            return
        if means is not None:
            say(f"activations in {len(replacing or ())} prompts of {means.folder}")
        answers = _answers(
            bound, chosen, encoded, conditions, replacing, asked, sharing, judge, parts, progress, say
        )
        for line in _lemmatizer_lines(judge.tools):
            say(line)
        tables = _tables(answers, record, conditions, masks, asked.seed)
        if bound.is_first:
            write_evaluation(folder, {**record, **tables}, tables["rows"], answers, conditions)
        parts.clear()


def _sharing(
    bound: BoundModel,
    encoded: Mapping[str, Sequence[EncodedItem]],
    asked: Request,
    conditions: Sequence[Condition],
    before: Mapping[str, Any],
    say: Say,
) -> dict[str, Sharing]:
    """Which benchmarks' prompts share tokens; a resumed evaluation keeps its decision."""
    from culnig.evaluation.sharing import choose_sharing, recorded

    if not asked.prefix_sharing:
        return {}
    if "sharing" in before:
        return recorded(before["sharing"])
    decides_alone = bool(before) or bound.sharding is not None  # processes measure different times
    n_conditions = None if decides_alone else sum(not condition.by_item for condition in conditions)
    return choose_sharing(bound, encoded, asked.token_budget, n_conditions, say)


def _answers(
    bound: BoundModel,
    chosen: Mapping[str, ChosenItems],
    encoded: Mapping[str, Sequence[EncodedItem]],
    conditions: Sequence[Condition],
    prompts: Sequence[Sequence[int]] | None,
    asked: Request,
    sharing: Mapping[str, Sharing],
    judge: AnswerJudge,
    parts: Parts,
    progress: Progress,
    say: Say,
) -> Answers:
    from culnig.evaluation.masks import Replacements
    from culnig.evaluation.runner import run_conditions
    from culnig.inference.likelihoods import n_prompts

    tasks = {
        name: Task(
            progress, f"evaluate {name}, {len(conditions)} conditions", n_prompts(own.items) * len(conditions)
        )
        for name, own in chosen.items()
    }
    replacements = None
    if prompts is not None:
        replacements = Replacements.of(bound, prompts, conditions, token_budget=asked.token_budget)
    return run_conditions(
        bound,
        {name: own.items for name, own in chosen.items()},
        conditions,
        encoded=encoded,
        token_budget=asked.token_budget,
        max_new_tokens=asked.max_new_tokens,
        judge=judge,
        sharing=sharing,
        replacements=replacements,
        parts=parts,
        say=say,
        after_batch=lambda name, condition, n_items: tasks[name].advance(n_items),
    )


def _record(
    bound: BoundModel,
    sets: Sequence[NeuronSet],
    settings: dict[str, Any],
    judge: AnswerJudge,
    chosen: Mapping[str, ChosenItems],
    prompts: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The record of an evaluation: request, model and versions."""
    from culnig.inference.products import computation_of

    return {
        "model": describe_model(bound),
        "neuron_sets": [
            {
                "name": own.name,
                "n_neurons": len(own.neurons),
                "neurons_hash": sha256(own.flat(bound.layout).tobytes()).hexdigest(),
                "method": own.method,
            }
            for own in sets
        ],
        "settings": settings,
        "lemmatizers": judge.tools,
        "benchmarks": {
            name: {**own.record(prompts[name]), "cultural": _is_cultural(own)} for name, own in chosen.items()
        },
        "versions": versions(computation_of(bound.model)),
    }


def _is_cultural(chosen: ChosenItems) -> bool:
    return any(item.culture != NO_CULTURE for item in chosen.items)


def _tables(
    answers: Answers,
    record: dict[str, Any],
    conditions: Sequence[Condition],
    masks: dict[str, str] | None,
    seed: int,
) -> dict[str, Any]:
    """Rows of an evaluation, and its matrix and doses where asked for."""
    from culnig.evaluation.dose import dose_table
    from culnig.evaluation.matrix import selectivity
    from culnig.evaluation.results import metrics_of, result_rows

    benchmarks = list(record["benchmarks"])
    cultural = [name for name in benchmarks if record["benchmarks"][name]["cultural"]]
    tables: dict[str, Any] = {"rows": result_rows(answers, benchmarks, conditions, seed)}
    if masks is not None:
        related = {key: culture.related for key, culture in registry.cultures().items()}
        available = [set(metrics_of(answers[name, conditions[0].name])) for name in cultural]
        tables["matrix"] = [
            selectivity(answers, cultural, masks, related, metric=metric, seed=seed).document()
            for metric in ("accuracy", "option_accuracy", "p_gold")
            if all(metric in names for names in available)
        ]
    if len({(condition.factor, condition.share) for condition in conditions if condition.of_set}) > 1:
        tables["dose"] = [asdict(dose) for dose in dose_table(tables["rows"], cultural)]
    return tables


def _lemmatizer_lines(tools: dict[str, dict[str, Any]]) -> list[str]:
    """Which lemmatizer judged the short answers of each language."""
    return [
        f"short answers in {language}: {tool['lemmatizer']} ({tool['package']} {tool['version']})"
        + (f", not installed: {', '.join(tool['missing'])}" if tool["missing"] else "")
        for language, tool in sorted(tools.items())
    ]
