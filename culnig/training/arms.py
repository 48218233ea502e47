"""Arms: the same task learned by different parts of one model, each from the same start.

Arm by arm and seed by seed, the model is trained in place, evaluated, and given its weights back. Each
training has a folder with its plan, losses and answers, so that a stopped comparison continues from there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from culnig.benchmarks.base import ChosenItems
from culnig.core.outcomes import Outcomes
from culnig.core.progress import Progress, Say, no_progress, say_nothing
from culnig.errors import InputError, argument
from culnig.evaluation.conditions import UNMASKED, Condition
from culnig.evaluation.folder import read_answers, request_to_resume, write_evaluation
from culnig.evaluation.parts import EvaluationParts
from culnig.evaluation.results import result_rows
from culnig.evaluation.runner import run_conditions
from culnig.inference.encoding import EncodedItem, Encoder
from culnig.models.base import BoundModel
from culnig.provenance import describe_model, versions
from culnig.selection.neuron_set import read_neuron_set
from culnig.selection.similarity import compare
from culnig.store.prompts import as_recorded
from culnig.training.arms_table import FORMAT_VERSION, After, change_rows, contrast_rows
from culnig.training.drift import general_neurons, moved_neurons
from culnig.training.folder import ARMS_FORMAT, ASKED, TrainingFolder, read_training
from culnig.training.plan import PLAN_FILE, Plan, with_direction
from culnig.training.record import request_record, result_record
from culnig.training.settings import TrainSettings
from culnig.training.tasks import Task
from culnig.training.trainer import fit

if TYPE_CHECKING:
    import torch

ArmName = Literal["plan", "top", "bottom", "random", "rows"]
"""`plan`: as the plan says; `top`, `bottom`, `random`: with that direction; `rows`: `top` with row masks."""

BEFORE, EVALUATION, RESCORED, GENERAL = "before", "evaluation", "scores", "general.neurons.json"
"""Names of files and folders inside the folder of a comparison."""

_UNMASKED = Condition(UNMASKED, 1.0, np.empty(0, dtype=np.int64))


def check_arms(names: Sequence[str]) -> tuple[ArmName, ...]:
    """The names of arms; InputError for an unknown name or one given twice."""
    for name in names:
        if name not in get_args(ArmName) or names.count(name) > 1:
            raise InputError(
                f"{argument('arms')}: {name!r} is not an arm, or is given twice; choose from "
                f"{', '.join(get_args(ArmName))}"
            )
    return tuple(names)  # type: ignore[arg-type]  # checked above


def arm_plan(bound: BoundModel, plan: Plan, arm: ArmName, seed: int) -> Plan:
    """What an arm trains, from the neurons of a plan; `random` draws by the seed."""
    if arm == "plan":
        return plan
    if arm == "rows":
        return with_direction(bound, plan, direction="top", keep_neurons=True)
    return with_direction(bound, plan, direction=arm, keep_neurons=False, seed=seed)


@dataclass(frozen=True)
class Comparison:
    """The settings that all arms share."""

    plan: Plan
    task: Task
    encoder: Encoder
    """Encodes all items of the comparison."""
    encoded: Sequence[EncodedItem]
    """The task's examples."""
    settings: TrainSettings
    benchmarks: Mapping[str, ChosenItems]
    """Evaluated before and after; the task's test items are among them."""
    rescored: Mapping[str, ChosenItems]
    """Scored before and after, to compare the general neurons; empty to leave that out."""
    token_budget: int

    @cached_property
    def encoded_benchmarks(self) -> dict[str, list[EncodedItem]]:
        """The items of each benchmark as token ids."""
        return {
            name: self.encoder.encode_answerable(chosen.items) for name, chosen in self.benchmarks.items()
        }

    @cached_property
    def benchmark_records(self) -> dict[str, dict[str, object]]:
        """What is recorded about each benchmark and its prompts."""
        return {
            name: self.benchmarks[name].record(self.encoder.record(encoded))
            for name, encoded in self.encoded_benchmarks.items()
        }

    def request(self, bound: BoundModel, plan: Plan, settings: TrainSettings) -> dict[str, Any]:
        """The request of one training of the comparison."""
        return request_record(bound, plan, self.task, settings, self.encoder.record(self.encoded))


@dataclass(frozen=True)
class Watching:
    """The progress callbacks, and whether this process writes."""

    writes: bool = True
    """Whether this is the first process."""
    progress: Progress = no_progress
    say: Say = say_nothing
    save: Callable[[Any, Path], None] | None = None
    """Keeps a trained model in a folder; None keeps none."""


def evaluated(
    bound: BoundModel, comparison: Comparison, folder: Path, watching: Watching
) -> dict[str, Outcomes]:
    """Answers to all benchmarks, read from the folder if they are stored there.

    Only the process that writes runs the model; the others get no answers and wait at the next training.
    """
    if not watching.writes:
        return {}
    record = {
        "model": describe_model(bound),
        "neuron_sets": [],
        "settings": {"token_budget": comparison.token_budget},
        "benchmarks": comparison.benchmark_records,
        "versions": versions(),
    }
    record = as_recorded(record, request_to_resume(folder))
    names = list(comparison.benchmarks)
    with EvaluationParts.open(folder, record, names, [_UNMASKED], resume=True) as parts:
        if parts.finished:
            answers = read_answers(folder)
        else:
            watching.say(f"evaluating {', '.join(names)}")
            answers = run_conditions(
                bound,
                {name: chosen.items for name, chosen in comparison.benchmarks.items()},
                [_UNMASKED],
                encoded=comparison.encoded_benchmarks,
                token_budget=comparison.token_budget,
                parts=parts,
                say=watching.say,
            )
            write_evaluation(folder, record, result_rows(answers, names, [_UNMASKED]), answers, [_UNMASKED])
            parts.clear()
    return {benchmark: outcomes for (benchmark, _), outcomes in answers.items()}


@contextlib.contextmanager
def given_back(bound: BoundModel, plan: Plan) -> Iterator[dict[str, torch.Tensor]]:
    """Copies of the weights that a plan trains; on exit the model gets them back."""
    own = dict(bound.model.named_parameters())
    before = {part.parameter: own[part.parameter].detach().clone() for part in plan.train}
    try:
        yield before
    finally:
        for name, values in before.items():
            own[name].data.copy_(values)


def run_arm(
    bound: BoundModel, comparison: Comparison, arm: ArmName, seed: int, folder: Path, watching: Watching
) -> dict[str, Outcomes]:
    """Train and evaluate one arm with one seed, or read the answers from a finished folder.

    The folder is finished when it holds the answers; until then its checkpoints are kept.
    """
    plan = arm_plan(bound, comparison.plan, arm, seed)
    settings = replace(comparison.settings, seed=seed)
    training_folder = TrainingFolder(folder)
    request = comparison.request(bound, plan, settings)
    if watching.writes:
        training_folder.open(request, resume=True)
    if training_folder.finished:
        watching.say(f"{arm}, seed {seed}: finished already")
        return {name: outcomes for (name, _), outcomes in read_answers(folder / EVALUATION).items()}

    def save(model: Any) -> None:
        if watching.save is not None:
            keep = watching.save
            training_folder.save_model(lambda path: keep(model, path))

    with training_folder, given_back(bound, plan) as before:
        trained = fit(
            bound,
            plan,
            comparison.encoded,
            settings,
            training_folder,
            progress=lambda done, total: watching.progress(f"{arm}, seed {seed}", done, total),
            say=watching.say,
            save=save,
        )
        answers = evaluated(bound, comparison, folder / EVALUATION, watching)
        if watching.writes:
            drift = {
                "moved": asdict(moved_neurons(bound, before, plan)),
                "found_again": _found_again(bound, comparison, folder, watching),
            }
            plan.write(folder / PLAN_FILE, overwrite=True)
            training_folder.finish({**request, **result_record(plan, trained), "arm": arm, "drift": drift})
    return answers


def _found_again(
    bound: BoundModel, comparison: Comparison, folder: Path, watching: Watching
) -> dict[str, Any] | None:
    """General neurons after the training beside those before it; None unless something is rescored."""
    if not comparison.rescored:
        return None
    watching.say("scoring again, to see which neurons are general now")
    now = general_neurons(
        *(bound, comparison.rescored, comparison.plan.neurons, folder / RESCORED, comparison.encoder)
    )
    now.write(folder / GENERAL, overwrite=True)
    before = read_neuron_set(folder.parent.parent / BEFORE / GENERAL)
    return asdict(compare(replace(before, name="before"), replace(now, name="after"), bound.layout))


def comparison_record(
    bound: BoundModel, comparison: Comparison, arms: Sequence[ArmName], seeds: Sequence[int]
) -> dict[str, Any]:
    """The request of a comparison; a resumed comparison must have the same one."""
    return {
        **comparison.request(bound, comparison.plan, comparison.settings),
        "benchmarks": comparison.benchmark_records,
        "rescored": {name: chosen.record() for name, chosen in comparison.rescored.items()},
        "arms": list(arms),
        "seeds": list(seeds),
    }


def run_before(
    bound: BoundModel, comparison: Comparison, folder: Path, watching: Watching
) -> dict[str, Outcomes]:
    """Evaluate the untrained model, and find its general neurons if any benchmark is rescored."""
    answers = evaluated(bound, comparison, folder / BEFORE, watching)
    if comparison.rescored and watching.writes and not (folder / BEFORE / GENERAL).exists():
        watching.say("scoring, to see which neurons are general before")
        general = general_neurons(
            *(bound, comparison.rescored, comparison.plan.neurons, folder / BEFORE / RESCORED),
            comparison.encoder,
        )
        general.write(folder / BEFORE / GENERAL)
    return answers


def arms_document(
    folder: Path,
    comparison: Comparison,
    before: Mapping[str, Outcomes],
    after: After,
    seeds: Sequence[int],
    asked: Mapping[str, Any],
) -> dict[str, Any]:
    """`arms.json`: changes, contrasts, what each arm trained, and the request (`comparison_record`)."""
    arms = []
    for arm in after:
        for seed in seeds:
            record = read_training(folder / arm / f"seed-{seed}")
            arms.append(
                {
                    "arm": arm,
                    "seed": seed,
                    "folder": f"{arm}/seed-{seed}",
                    **{
                        name: record[name]
                        for name in ("n_trainable", "planned", "steps", "drift", "settings")
                    },
                    "loss": [row["loss"] for row in record["log"]],
                }
            )
    task = comparison.task.name
    return {
        "format": ARMS_FORMAT,
        "format_version": FORMAT_VERSION,
        "model": arms and read_training(folder / arms[0]["folder"])["model"],
        "task": task,
        "seeds": list(seeds),
        "arms": arms,
        "changes": change_rows(before, after, task),
        "contrasts": contrast_rows(before, after, task),
        ASKED: {name: part for name, part in asked.items() if name != "versions"},
        "versions": versions(),
    }
