"""Compare what to fine-tune: train each arm with each seed from the same start; evaluate before and after.

The folder holds `before/`, `ARM/seed-N/` for every arm and seed, and at the end `arms.json` and `arms.csv`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig.benchmarks.choosing import read_benchmarks
from culnig.core.items import SplitChoice
from culnig.core.progress import Progress, Say, no_progress, say_nothing
from culnig.inference.batches import DEFAULT_TOKEN_BUDGET
from culnig.store.files import write_json
from culnig.training.arms import (
    ArmName,
    Comparison,
    Watching,
    arms_document,
    check_arms,
    comparison_record,
    run_arm,
    run_before,
)
from culnig.training.arms_table import ARMS_FILE, TABLE_FILE, read_arms, write_table
from culnig.training.folder import TrainingFolder
from culnig.training.plan import Plan
from culnig.training.settings import TrainOptions
from culnig.training.train import Training, save_model

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from culnig.models.base import BoundModel


def compare_arms(
    model: str | Path | BoundModel,
    plan: Plan | Path | str,
    task: str,
    arms: Sequence[str],
    out: Path | str,
    *,
    seeds: int = 1,
    rescore: Sequence[str] = (),
    keep_models: bool = False,
    benchmarks: Sequence[str] = (),
    data_dir: Path | str | None = None,
    split: SplitChoice = "test",
    cultures: Sequence[str] = (),
    limit: int | None = None,
    per_culture: int | None = None,
    sample: int | None = None,
    token_budget: int = DEFAULT_TOKEN_BUDGET,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = no_progress,
    say: Say = say_nothing,
    **options: Unpack[TrainOptions],
) -> dict[str, Any]:
    """Train arms such as ("top", "random") with `seeds` seeds each; returns what `arms.json` holds.

    Each arm is evaluated on the task and on every benchmark. `rescore` names benchmarks (target, control,
    exclusion) that are scored before and after, to see which neurons are still general. `options`, processes
    and errors are those of `train`.
    """
    names = check_arms(arms)
    training = Training.prepare(
        *(plan, task, TrainingFolder(Path(out), ARMS_FILE)),
        model=model,
        data_dir=data_dir,
        resume=resume,
        overwrite=overwrite,
        options=options,
    )
    first, settings = training.processes.is_first, training.settings
    say = say if first else say_nothing
    draw: dict[str, Any] = {"sample": sample, "seed": settings.seed, "say": say}
    evaluated = read_benchmarks((task,), data_dir, split, limit=limit, **draw)
    if benchmarks:
        evaluated |= read_benchmarks(benchmarks, data_dir, split, cultures, limit, per_culture, **draw)
    rescored = (
        read_benchmarks(rescore, data_dir, "identify", cultures, limit, per_culture, **draw)
        if rescore
        else {}
    )
    bound, encoder, encoded = training.load(model, say)
    return run_comparison(
        bound,
        Comparison(
            *(training.plan, training.task, encoder, encoded, settings, evaluated, rescored, token_budget)
        ),
        names,
        [settings.seed + number for number in range(seeds)],
        training,
        Watching(
            writes=first,
            progress=progress if first else no_progress,
            say=say,
            save=(lambda trained, path: save_model(bound, trained, path)) if keep_models else None,
        ),
        resume=resume,
    )


def run_comparison(
    bound: BoundModel,
    comparison: Comparison,
    arms: Sequence[ArmName],
    seeds: Sequence[int],
    training: Training,
    watching: Watching,
    *,
    resume: bool,
) -> dict[str, Any]:
    """Every arm with every seed, then the tables; empty in a process that does not write."""
    folder = training.folder
    record = comparison_record(bound, comparison, arms, seeds)
    with folder:
        training.start(record, resume=resume)
        if folder.finished:
            watching.say(f"{folder.path} is finished already")
            return read_arms(folder.path) if watching.writes else {}
        before = run_before(bound, comparison, folder.path, watching)
        after = {
            arm: [
                run_arm(bound, comparison, arm, seed, folder.path / arm / f"seed-{seed}", watching)
                for seed in seeds
            ]
            for arm in arms
        }
        if not watching.writes:
            return {}
        document = arms_document(folder.path, comparison, before, after, seeds, record)
        write_table(folder.path / TABLE_FILE, [*document["changes"], *document["contrasts"]])
        write_json(folder.path / ARMS_FILE, document)
        folder.clean_up()
    return document
