"""`culnig-engine train`: fine-tune by a plan; with --arms, compare what to fine-tune."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from culnig import registry
from culnig.cli.model_options import ModelChoice, model_options
from culnig.cli.options import item_options, json_option, overwrite_option, read_benchmarks
from culnig.cli.output import print_json, print_line
from culnig.cli.progress import ProgressView, progress_view
from culnig.cli.training_tables import print_arms
from culnig.core.items import SplitChoice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from culnig.core.processes import Processes
    from culnig.inference.encoding import EncodedItem
    from culnig.models.base import BoundModel
    from culnig.training.arms import ArmName, Comparison
    from culnig.training.folder import TrainingFolder
    from culnig.training.plan import Plan
    from culnig.training.settings import TrainSettings
    from culnig.training.tasks import Task

TRAIN = "train"


@click.command("train")
@model_options()
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), required=True, help="See `modules`.")
@click.option(
    "--task",
    required=True,
    help="Benchmark to learn: qnli, mrpc, commonsenseqa …, or a file that declares one.",
)
@click.option(
    "--arms",
    "arm_names",
    help="Compare: train each of top, bottom, random, rows (top with row masks) and plan in turn, and "
    "evaluate it on the task and on each --benchmark before and after.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Seeds of each arm.")
@click.option(
    "--rescore",
    "rescored",
    multiple=True,
    help="Score this benchmark before and after, to see which neurons are general then; target, control and "
    "exclusion, each with an option of its own.",
)
@click.option("--keep-models", is_flag=True, help="Keep the model of every arm and seed.")
@item_options("test", required=False)
@click.option("--examples", type=int, help="Examples to train on; by default 10,000 of qnli, all of others.")
@click.option("--epochs", type=float, default=1.0, show_default=True, help="Passes over the examples.")
@click.option("--max-steps", type=int, help="Stop after so many steps.")
@click.option(
    "--learning-rate", type=float, default=3e-5, show_default=True, help="Of AdamW; it stays constant."
)
@click.option("--batch-size", type=int, default=4, show_default=True, help="Examples at once on a device.")
@click.option("--accumulation", type=int, default=4, show_default=True, help="Batches of one step.")
@click.option("--seed", type=int, default=42, show_default=True, help="Seed of examples and their order.")
@click.option("--lora", "lora_rank", type=int, help="Train LoRA of this rank instead of the weights (peft).")
@click.option("--lora-alpha", type=float, help="Scale of LoRA; twice the rank by default.")
@click.option("--gradient-checkpointing", is_flag=True, help="Save memory by computing layers twice.")
@click.option("--save-every", type=int, default=100, show_default=True, help="Steps between checkpoints.")
@click.option("--log-every", type=int, default=10, show_default=True, help="Steps between logged losses.")
@click.option(
    "--report-to", default="none", show_default=True, help="Trainer's trackers: wandb, tensorboard …"
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted training.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to make.")
@overwrite_option()
@json_option()
def command(
    model: ModelChoice,
    plan_file: Path,
    task: str,
    arm_names: str | None,
    seeds: int,
    rescored: tuple[str, ...],
    keep_models: bool,
    benchmarks: tuple[str, ...],
    data_dir: Path | None,
    split: SplitChoice,
    cultures: tuple[str, ...],
    limit: int | None,
    per_culture: int | None,
    token_budget: int,
    resume: bool,
    output: Path,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Fine-tune the weights that a plan names on the label token of a task, and save a model folder.

    The paper's settings are the defaults. Under torchrun each process takes a share of every step. With
    --arms, compare what a training of different parts gains and costs.
    """
    from culnig.core.processes import disconnect, launched
    from culnig.training.arms import Comparison, parse_arms
    from culnig.training.arms_table import ARMS_FILE
    from culnig.training.folder import TRAINING_FILE, TrainingFolder
    from culnig.training.plan import read_plan
    from culnig.training.record import request_record
    from culnig.training.settings import TrainSettings
    from culnig.training.tasks import read_task

    if resume and overwrite:
        raise click.UsageError("--resume goes on, --overwrite begins anew; give one of them")
    if arm_names is None and (benchmarks or rescored or seeds > 1 or keep_models):
        raise click.UsageError("--benchmark, --rescore, --seeds and --keep-models belong to --arms")
    how = TrainSettings(**settings)
    plan = read_plan(plan_file)
    benchmark = registry.benchmark(task)
    folder = TrainingFolder(output, ARMS_FILE if arm_names else TRAINING_FILE)
    processes = launched()
    if processes.is_first:
        folder.prepare(overwrite=overwrite, resume=resume)
    learned = read_task(benchmark, data_dir, how.examples, how.seed)
    if arm_names is not None:
        arms = parse_arms(arm_names)
        evaluated = read_benchmarks((task,), data_dir, split, (), limit, None)
        for name in benchmarks:
            evaluated |= read_benchmarks((name,), data_dir, split, cultures, limit, per_culture)
        again = read_benchmarks(rescored, data_dir, "identify", cultures, limit, per_culture)
    with folder, progress_view(quiet=not processes.is_first) as view:
        view.say(f"loading {model.source}")
        bound = model.load()
        plan.check(bound)
        if arm_names is not None:
            comparison = Comparison(
                plan, learned, encoded_examples(bound, learned, view), how, evaluated, again, token_budget
            )
            document = compare_arms(
                bound,
                comparison,
                arms,
                [how.seed + number for number in range(seeds)],
                folder,
                processes,
                view,
                resume=resume,
                keep_models=keep_models,
            )
        else:
            record = request_record(bound, plan, learned, how)
            open_folder(folder, record, processes, resume=resume)
            if folder.finished:
                view.say(f"{output} is finished already")
            else:
                train_into(folder, bound, plan, learned, how, record, processes, view)
    disconnect()
    if not processes.is_first:
        return
    if arm_names is None:
        _tell(folder, as_json)
    elif as_json:
        print_json({"arms": str(output), **document})
    else:
        print_arms(document)
        print_line(f"Written to {output}")


def compare_arms(
    bound: BoundModel,
    comparison: Comparison,
    arms: Sequence[ArmName],
    seeds: Sequence[int],
    folder: TrainingFolder,
    processes: Processes,
    view: ProgressView,
    *,
    resume: bool,
    keep_models: bool,
) -> dict[str, Any]:
    """Train and evaluate every arm with every seed into a folder; what `arms.json` holds."""
    from culnig.store.files import write_json
    from culnig.training.arms import Watching, arms_document, comparison_record, run_arm, run_before
    from culnig.training.arms_table import ARMS_FILE, TABLE_FILE, write_table

    record = comparison_record(bound, comparison, arms, seeds)
    open_folder(folder, record, processes, resume=resume)
    watching = Watching(
        writes=processes.is_first,
        progress=lambda name: _shown(view, name),
        say=view.say,
        save=(lambda model, path: save_model(bound, model, path)) if keep_models else None,
    )
    before = run_before(bound, comparison, folder.path, watching)
    after = {
        arm: [
            run_arm(bound, comparison, arm, seed, folder.path / arm / f"seed-{seed}", watching)
            for seed in seeds
        ]
        for arm in arms
    }
    if not processes.is_first:
        return {}
    document = arms_document(folder.path, comparison, before, after, seeds, record)
    write_table(folder.path / TABLE_FILE, [*document["changes"], *document["contrasts"]])
    write_json(folder.path / ARMS_FILE, document)
    folder.close()
    return document


def open_folder(
    folder: TrainingFolder, record: dict[str, Any], processes: Processes, *, resume: bool
) -> None:
    """Start the folder or go on with it; the first process does so, and the others see what it made."""
    if processes.is_first:
        folder.open(record, resume=resume)
    processes.wait_for_all()


def train_into(
    folder: TrainingFolder,
    bound: BoundModel,
    plan: Plan,
    task: Task,
    settings: TrainSettings,
    record: dict[str, Any],
    processes: Processes,
    view: ProgressView,
) -> None:
    """Train with progress and write the folder: model or adapter, plan, losses."""
    from culnig.training.record import result_record
    from culnig.training.trainer import train

    encoded = encoded_examples(bound, task, view)

    def save(model: Any) -> None:
        save_model(bound, model, folder.path)

    trained = train(
        bound, plan, encoded, settings, folder, progress=_shown(view, TRAIN), say=view.say, save=save
    )
    if processes.is_first:
        plan.write(folder.path / "plan.yaml", overwrite=True)
        folder.finish({**record, **result_record(plan, trained)})


def encoded_examples(bound: BoundModel, task: Task, view: ProgressView) -> list[EncodedItem]:
    """The task's examples as token ids; those that are too long are left out, and it is said how many."""
    from culnig.errors import TrainingError
    from culnig.inference.encoding import Encoder

    encoder = Encoder(bound)
    fitting = encoder.fitting(task.examples)
    if not fitting:
        raise TrainingError(
            f"all {len(task.examples)} examples of {task.name!r} are longer than the {bound.max_tokens} "
            "tokens of this model"
        )
    if len(fitting) < len(task.examples):
        view.say(
            f"{len(task.examples) - len(fitting)} examples are longer than the model allows and left out"
        )
    return encoder.encode_all(fitting)


def save_model(bound: BoundModel, model: Any, folder: Path) -> None:
    """Write a model or adapter, as `--model` reads it."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model.save_pretrained(folder)
        bound.tokenizer.save_pretrained(folder)
    finally:
        if was_enabled:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _shown(view: ProgressView, name: str) -> Any:
    """A progress callback that announces its task with the first call."""
    seen = 0
    announced = False

    def progress(done: int, total: int) -> None:
        nonlocal seen, announced
        if not announced:
            view.add(name, total)
            announced = True
        view.advance(name, done - seen)
        seen = done

    return progress


def _tell(folder: TrainingFolder, as_json: bool) -> None:
    from culnig.training.folder import read_training

    record = read_training(folder.path)
    if as_json:
        print_json(
            {"model": str(folder.path), **{n: record[n] for n in ("n_trainable", "steps", "log", "task")}}
        )
        return
    losses = [row["loss"] for row in record["log"]]
    course = f", loss {losses[0]:.4f} at first, {losses[-1]:.4f} at last" if losses else ""
    print_line(
        f"{record['steps']:,} steps on {record['task']['examples']:,} examples of {record['task']['name']}: "
        f"{record['n_trainable']:,} parameters trained{course}"
    )
    print_line(f"Written to {folder.path}; --model {folder.path} reads it")
