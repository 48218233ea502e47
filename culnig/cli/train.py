"""`culnig-engine train`: fine-tune by a plan; with --arms, compare what to fine-tune."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.options import PATH, ModelChoice, item_options, model_options, out_options, prompt_date_option
from culnig.cli.output import print_json, print_line
from culnig.cli.progress import progress_view
from culnig.cli.training_tables import print_arms
from culnig.core.processes import disconnect


@click.command("train")
@model_options()
@click.option("--plan", type=PATH, required=True, help="Plan file, made by `modules`.")
@click.option(
    "--task",
    required=True,
    help="Benchmark to train on: qnli, mrpc, commonsenseqa …, or a file that declares one.",
)
@click.option(
    "--arms",
    help="Compare: train each of these in turn (a list such as top,bottom,random; also rows, which is top "
    "with row masks, and plan), and evaluate the task and each --benchmark before and after.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Seeds of each arm.")
@click.option(
    "--rescore",
    multiple=True,
    help="With --arms: score this benchmark before and after, to see which neurons are still general; give "
    "it once each for target, control and exclusion.",
)
@click.option("--keep-models", is_flag=True, help="With --arms: keep every trained model.")
@item_options("test", required=False)
@click.option("--examples", type=int, help="Examples to train on; by default 10,000 of qnli, else all.")
@click.option("--epochs", type=float, default=1.0, show_default=True, help="Passes over the examples.")
@click.option("--max-steps", type=int, help="Stop after this many steps.")
@click.option(
    "--learning-rate", type=float, default=3e-5, show_default=True, help="Constant learning rate of AdamW."
)
@click.option(
    "--batch-size", type=int, default=4, show_default=True, help="Examples per batch, on each device."
)
@click.option("--accumulation", type=int, default=4, show_default=True, help="Batches per step.")
@click.option(
    "--seed", type=int, default=42, show_default=True, help="Seed of the examples, their order and --sample."
)
@click.option("--lora", type=int, help="Train LoRA of this rank instead of the weights (peft).")
@click.option("--lora-alpha", type=float, help="Scale of LoRA; twice the rank by default.")
@click.option("--gradient-checkpointing", is_flag=True, help="Save memory by computing activations twice.")
@click.option("--save-every", type=int, default=100, show_default=True, help="Steps between checkpoints.")
@click.option("--log-every", type=int, default=10, show_default=True, help="Steps between logged losses.")
@click.option(
    "--report-to", default="none", show_default=True, help="Trainer's trackers: wandb, tensorboard …"
)
@click.option(
    "--i-have-permission",
    is_flag=True,
    help="You may train on a set whose licence forbids it or does not say; the training records that.",
)
@prompt_date_option()
@click.option("--resume", is_flag=True, help="Continue an interrupted training.")
@out_options("Folder to create.")
def command(
    model: ModelChoice,
    plan: Path,
    task: str,
    out: Path,
    as_json: bool,
    arms: str | None,
    **options: Any,
) -> None:
    """Fine-tune the weights that a plan names on the label token of a task, and save a model folder.

    The paper's settings are the defaults. Under torchrun each process takes a share of every step. With
    --arms, compare what training different parts gains and costs.
    """
    from culnig.training.comparison import compare_arms
    from culnig.training.train import train

    if arms is None:
        comparison = {name: options.pop(name) for name in _OF_ARMS}
        if any(comparison[name] for name in _NEED_ARMS) or comparison["seeds"] > 1:
            raise click.UsageError("--benchmark, --rescore, --seeds and --keep-models need --arms")
    with progress_view() as view:
        reporting: dict[str, Any] = {"progress": view.progress, "say": view.say, **model.options}
        if arms is None:
            document = train(model.source, plan, task, out, **options, **reporting)
        else:
            names = [name.strip() for name in arms.split(",")]
            document = compare_arms(model.source, plan, task, names, out, **options, **reporting)
    disconnect()
    if not document:  # a process of torchrun that does not write
        return
    if arms is None:
        _print_training(document, out, as_json)
    elif as_json:
        print_json({"arms": str(out), **document})
    else:
        print_arms(document)
        print_line(f"Written to {out}")


_NEED_ARMS = ("benchmarks", "rescore", "keep_models")
_OF_ARMS = (*_NEED_ARMS, "seeds", "split", "cultures", "limit", "per_culture", "sample", "token_budget")


def _print_training(record: dict[str, Any], out: Path, as_json: bool) -> None:
    if as_json:
        names = ("n_trainable", "steps", "log", "task")
        print_json({"model": str(out), **{name: record[name] for name in names}})
        return
    losses = [row["loss"] for row in record["log"]]
    course = f", loss {losses[0]:.4f} at first, {losses[-1]:.4f} at last" if losses else ""
    print_line(
        f"{record['steps']:,} steps on {record['task']['examples']:,} examples of {record['task']['name']}: "
        f"{record['n_trainable']:,} parameters trained{course}"
    )
    print_line(f"Written to {out}; --model {out} reads it")
