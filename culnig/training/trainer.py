"""Training with transformers' Trainer: loss of the label, checkpoints of what is trained, a stop at NaN."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer, TrainerCallback, TrainingArguments

from culnig.core.progress import Say, say_nothing
from culnig.errors import BindingError, EnvironmentProblem, InputError, TrainingError, argument, option
from culnig.inference.encoding import EncodedItem
from culnig.models.base import BoundModel
from culnig.store.files import disk_errors, foreign_disk_errors, make_folder
from culnig.training.folder import LOG_COLUMNS, TrainingFolder
from culnig.training.label_loss import Examples, LabelLoss, collate
from culnig.training.plan import Plan
from culnig.training.settings import TrainSettings
from culnig.training.trainable import lora_weights, planned_weights

TRAINED = "trained.safetensors"
"""The weights in a checkpoint."""

StepsDone = Callable[[int, int], None]
"""Called with steps done and steps in all."""


@dataclass(frozen=True)
class Trained:
    """The result of a training."""

    n_trainable: int
    """Parameters that were trained: the plan's, or those of LoRA."""
    steps: int
    log: tuple[dict[str, float], ...]
    """Loss and learning rate by step."""


def fit(
    bound: BoundModel,
    plan: Plan,
    encoded: Sequence[EncodedItem],
    settings: TrainSettings,
    folder: TrainingFolder,
    *,
    progress: StepsDone = lambda done, total: None,
    say: Say = say_nothing,
    save: Callable[[Any], None] = lambda model: None,
) -> Trained:
    """Train the model in place, from the folder's last checkpoint if it has one.

    `save` gets the trained model (wrapped by peft for LoRA) before LoRA is merged, in the first process only.
    TrainingError if the loss is not a number; it names the last checkpoint, which is kept.
    """
    _check_precision(bound)
    head = bound.model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if head is None:
        raise BindingError(f"{type(bound.model).__name__} has no output embeddings to read an answer from")
    loss = LabelLoss(head)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_restored(bound, settings))
        model: Any = bound.model
        if settings.lora_rank is None:
            stack.enter_context(planned_weights(bound, plan))
        else:
            model = stack.enter_context(lora_weights(bound, plan, settings))
        stack.enter_context(loss.attached())
        reporting = _Reporting(folder, progress, say)
        trainer = _label_trainer(model, loss, encoded, _arguments(bound, settings, folder), folder, reporting)
        n_trainable = (
            plan.n_trainable
            if settings.lora_rank is None
            else sum(p.numel() for p in model.parameters() if p.requires_grad)
        )
        checkpoint = folder.usable_checkpoint(say)
        trainer.accelerator.wait_for_everyone()
        if trainer.is_world_process_zero():
            folder.drop_checkpoints_except(checkpoint)
        trainer.accelerator.wait_for_everyone()
        with contextlib.suppress(_AllStepsDone):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)
        check_finite(model, trainer.state.global_step, folder)
        log = tuple(
            {name: row[name] for name in LOG_COLUMNS if name in row}
            for row in trainer.state.log_history
            if "loss" in row
        )
        if trainer.is_world_process_zero():
            folder.write_log(log)
            if settings.lora_rank is not None:
                save(model)
        steps = trainer.state.global_step
    if settings.lora_rank is None and trainer.is_world_process_zero():
        save(bound.model)
    trainer.accelerator.wait_for_everyone()
    return Trained(n_trainable, steps, log)


def _check_precision(bound: BoundModel) -> None:
    if bound.model.dtype == torch.float16:
        raise InputError(
            "float16 weights cannot be trained without scaling the loss; load the model with "
            f"{option('dtype', 'bfloat16')} or {option('dtype', 'float32')}"
        )
    if not all(parameter.is_floating_point() for parameter in bound.model.parameters()):
        raise InputError(
            f"quantized weights cannot be trained; load the model without {argument('quantize')}, and use "
            f"{option('dtype', 'bfloat16')} or {argument('lora')} to save memory"
        )
    device = bound.model.device
    if device.type == "cuda" and device.index not in (None, torch.cuda.current_device()):
        raise InputError(
            f"training uses the first visible device, not {device}; choose it with CUDA_VISIBLE_DEVICES"
        )


@contextlib.contextmanager
def _restored(bound: BoundModel, settings: TrainSettings) -> Iterator[None]:
    """On exit, the model is in evaluation mode again and without gradient checkpointing."""
    try:
        yield
    finally:
        if settings.gradient_checkpointing:
            getattr(bound.model, f"{_checkpointing_name()}_disable")()
        bound.model.eval()  # type: ignore[no-untyped-call]


def _checkpointing_name() -> str:
    """The name in the installed transformers; it changed within version 5."""
    newer = "activation_checkpointing"
    return newer if newer in TrainingArguments.__dataclass_fields__ else "gradient_checkpointing"


def _arguments(bound: BoundModel, settings: TrainSettings, folder: TrainingFolder) -> TrainingArguments:
    checkpointing: dict[str, Any] = {}
    if settings.gradient_checkpointing:
        name = _checkpointing_name()
        checkpointing = {name: True, f"{name}_kwargs": {"use_reentrant": False}}
    try:
        arguments = TrainingArguments(
            output_dir=str(folder.checkpoints),
            per_device_train_batch_size=settings.batch_size,
            gradient_accumulation_steps=settings.accumulation,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="constant",
            optim="adamw_torch",
            weight_decay=0.0,
            num_train_epochs=settings.epochs,
            max_steps=settings.max_steps or -1,
            seed=settings.seed,
            data_seed=settings.seed,
            bf16=bound.model.dtype == torch.bfloat16,
            save_strategy="steps",
            save_steps=settings.save_every,
            save_total_limit=2,
            logging_steps=settings.log_every,
            logging_first_step=True,
            logging_nan_inf_filter=False,
            report_to=settings.report_to,
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=bound.model.device.type == "cuda",
            use_cpu=bound.model.device.type == "cpu",
            **checkpointing,
        )
    except (ImportError, RuntimeError) as error:
        raise EnvironmentProblem(f"transformers' Trainer cannot start: {error}") from error
    arguments._n_gpu = min(1, arguments.n_gpu)  # several devices through torchrun, never DataParallel
    return arguments


def _label_trainer(
    model: Any,
    loss: LabelLoss,
    encoded: Sequence[EncodedItem],
    arguments: TrainingArguments,
    folder: TrainingFolder,
    reporting: _Reporting,
) -> _LabelTrainer:
    """A trainer that reports to us and prints nothing itself."""
    trainer = _LabelTrainer(
        loss,
        folder,
        model=model,
        args=arguments,
        train_dataset=Examples(encoded),
        data_collator=collate,
        callbacks=[reporting],
    )
    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__name__ in ("PrinterCallback", "ProgressCallback"):
            trainer.remove_callback(callback)
    return trainer


def check_finite(model: Any, step: int, folder: TrainingFolder) -> None:
    """TrainingError if a trained weight is not a number."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not bool(torch.isfinite(parameter).all()):
            raise not_a_number(f"{name} is not finite", step, folder)


def not_a_number(problem: str, step: int, folder: TrainingFolder) -> TrainingError:
    """The error for a loss or weight that is not a number."""
    last = folder.last_checkpoint()
    kept = f"the last checkpoint is {last}" if last else "no checkpoint was written yet"
    return TrainingError(
        f"{problem} after {step} steps, so training stopped; {kept}. Lower {argument('learning_rate')}, or "
        f"load the model with {option('dtype', 'float32')}"
    )


class _LabelTrainer(Trainer):
    """Trainer with the label's loss; checkpoints hold only the trained weights."""

    def __init__(self, loss: LabelLoss, folder: TrainingFolder, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._label_loss = loss
        self._folder = folder

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean cross-entropy of the labels."""
        loss = self._label_loss(model, inputs)
        if not bool(torch.isfinite(loss.detach())):
            raise not_a_number(
                f"the loss is {float(loss.detach())} in step {self.state.global_step + 1},",
                self.state.global_step,
                self._folder,
            )
        return loss

    def _trained(self) -> dict[str, torch.nn.Parameter]:
        model: Any = self.model
        return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the trained weights, in the first process."""
        if not self.args.should_save:
            return
        target = Path(str(output_dir or self.args.output_dir))
        check_finite(self.model, self.state.global_step, self._folder)
        make_folder(target)
        weights = {name: parameter.detach().contiguous() for name, parameter in self._trained().items()}
        save_file(weights, target / TRAINED)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write weights, optimizer and random state; EnvironmentProblem if the disk is full."""
        with disk_errors(self._folder.checkpoints), foreign_disk_errors():
            super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        stored = load_file(Path(resume_from_checkpoint) / TRAINED)
        with torch.no_grad():
            for name, parameter in self._trained().items():
                parameter.copy_(stored[name])


class _AllStepsDone(Exception):
    """The checkpoint is that of the last step; transformers' Trainer would add another."""


class _Reporting(TrainerCallback):
    """Reports steps and losses, and marks complete checkpoints."""

    def __init__(self, folder: TrainingFolder, progress: StepsDone, say: Say) -> None:
        self._folder, self._progress, self._say = folder, progress, say

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Report the first step."""
        self._progress(state.global_step, state.max_steps)
        if state.global_step >= state.max_steps:
            raise _AllStepsDone

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Count a step; log the last one, and each before a checkpoint, so that a resumed log is the same."""
        self._progress(state.global_step, state.max_steps)
        if state.global_step % args.save_steps == 0 or state.global_step == state.max_steps:
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        """Report the loss."""
        if logs and "loss" in logs:
            self._say(f"step {state.global_step} of {state.max_steps}: loss {float(logs['loss']):.4f}")

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Mark the checkpoint as complete."""
        if state.is_world_process_zero:
            self._folder.write_log([row for row in state.log_history if "loss" in row])
            self._folder.complete_checkpoint(self._folder.checkpoints / f"checkpoint-{state.global_step}")
