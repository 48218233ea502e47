"""Fine-tune a model by a plan: from a plan, a task and a folder to a model that `--model` reads.

Under torchrun every process calls `train` and takes a share of each step; the first process writes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig import registry
from culnig.core.processes import Processes, launched
from culnig.core.progress import Progress, Say, no_progress, say_nothing
from culnig.errors import TrainingError
from culnig.inference.encoding import EncodedItem, Encoder
from culnig.inference.templates import chosen_date
from culnig.models.named import loaded_model
from culnig.models.settings import LoadOptions
from culnig.store.output_folder import check_modes
from culnig.training.folder import TRAINING_FILE, TrainingFolder, read_training
from culnig.training.plan import PLAN_FILE, Plan
from culnig.training.plan_file import read_plan
from culnig.training.record import request_record, result_record
from culnig.training.settings import TrainOptions, TrainSettings, split_options
from culnig.training.tasks import Task, check_licence, read_task
from culnig.training.trainer import fit

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from culnig.models.base import BoundModel


@dataclass(frozen=True)
class Training:
    """What a training starts from, read and checked before the model is loaded."""

    plan: Plan
    task: Task
    settings: TrainSettings
    loading: LoadOptions
    folder: TrainingFolder
    processes: Processes

    @classmethod
    def prepare(
        cls,
        plan: Plan | Path | str,
        task: str,
        folder: TrainingFolder,
        *,
        model: str | Path | BoundModel,
        data_dir: Path | str | None,
        resume: bool,
        overwrite: bool,
        options: TrainOptions,
    ) -> Training:
        """Read plan and task, and check that the folder is free; `options` are those of `train`."""
        check_modes("a training", resume=resume, overwrite=overwrite)
        settings, loading = split_options(options)
        settings = replace(settings, prompt_date=chosen_date(settings.prompt_date).isoformat())
        opened = plan if isinstance(plan, Plan) else read_plan(Path(plan))
        benchmark = registry.benchmark(task)
        processes = launched()
        if processes.is_first:
            inputs = (model, plan if isinstance(plan, Path | str) else None, task, data_dir)
            folder.prepare(overwrite=overwrite, resume=resume, inputs=inputs)
        check_licence(benchmark, has_permission=settings.i_have_permission)
        read = read_task(benchmark, data_dir, settings.examples, settings.seed)
        return cls(opened, read, settings, loading, folder, processes)

    def load(self, model: str | Path | BoundModel, say: Say) -> tuple[BoundModel, Encoder, list[EncodedItem]]:
        """The model, checked against the plan, what encodes its items, and the task's examples."""
        bound = loaded_model(model, say, **self.loading)
        self.plan.check(bound)
        encoder = Encoder(bound, self.settings.prompt_date)
        return bound, encoder, encoded_examples(bound, encoder, self.task, say)

    def start(self, record: dict[str, Any], *, resume: bool) -> None:
        """Make the folder or continue it; the first process does so, and the others see the result."""
        if self.processes.is_first:
            self.folder.open(record, resume=resume)
        self.processes.wait_for_all()


def train(
    model: str | Path | BoundModel,
    plan: Plan | Path | str,
    task: str,
    out: Path | str,
    *,
    data_dir: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = no_progress,
    say: Say = say_nothing,
    **options: Unpack[TrainOptions],
) -> dict[str, Any]:
    """Fine-tune the weights that a plan names on the label token of a task, and save a model folder.

    `model` is a name or a loaded model, which is trained in place; `task` names a benchmark or a file that
    declares one. `options` are the fields of `TrainSettings` (`learning_rate=1e-4`; `lora=8` for LoRA of
    that rank) and, where `model` is a name, of `LoadSettings` (`dtype="bfloat16"`).

    Returns `training.json`: settings, losses by step, parameters trained; under torchrun only in the first
    process, the others return an empty dict. InputError and its subclasses for a wrong input, TrainingError
    if the loss is not a number.
    """
    folder = TrainingFolder(Path(out), TRAINING_FILE)
    training = Training.prepare(
        plan,
        task,
        folder,
        model=model,
        data_dir=data_dir,
        resume=resume,
        overwrite=overwrite,
        options=options,
    )
    first = training.processes.is_first
    say = say if first else say_nothing
    bound, encoder, encoded = training.load(model, say)
    prompts = encoder.record(encoded)
    record = request_record(bound, training.plan, training.task, training.settings, prompts)
    with folder:
        training.start(record, resume=resume)
        if folder.finished:
            say(f"{out} is finished already")
        else:
            trained = fit(
                bound,
                training.plan,
                encoded,
                training.settings,
                folder,
                progress=lambda done, total: (progress if first else no_progress)("train", done, total),
                say=say,
                save=lambda trained_model: folder.save_model(
                    lambda path: save_model(bound, trained_model, path)
                ),
            )
            if first:
                training.plan.write(folder.path / PLAN_FILE, overwrite=True)
                folder.finish({**record, **result_record(training.plan, trained)})
    return read_training(folder.path) if first else {}


def encoded_examples(bound: BoundModel, encoder: Encoder, task: Task, say: Say) -> list[EncodedItem]:
    """The task's examples as token ids, without those that are too long; `say` reports their number."""
    fitting = encoder.fitting(task.examples)
    n_too_long = len(task.examples) - len(fitting)
    if not fitting:
        raise TrainingError(
            f"all {n_too_long} examples of {task.name!r} are longer than the {bound.max_tokens} tokens of "
            "this model"
        )
    if n_too_long:
        say(f"skipped {n_too_long} examples that are longer than the model allows")
    return encoder.encode_all(fitting)


def save_model(bound: BoundModel, model: Any, folder: Path) -> None:
    """Write a model or adapter and its tokenizer, as `load_model` reads them."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model.save_pretrained(folder)
        bound.tokenizer.save_pretrained(folder)
    finally:
        if was_enabled:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
