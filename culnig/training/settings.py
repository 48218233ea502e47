"""How a model is fine-tuned: the paper's settings, each of which can be changed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

from culnig.errors import InputError, argument
from culnig.inference.templates import chosen_date
from culnig.models.settings import LoadOptions


@dataclass(frozen=True)
class TrainSettings:
    """What a training depends on besides model, plan and task. Defaults are the paper's (docs/method.md)."""

    learning_rate: float = 3e-5
    """Of AdamW without decay; it stays constant."""
    batch_size: int = 4
    """Examples of one forward pass, on each device."""
    accumulation: int = 4
    """Forward passes of one step."""
    epochs: float = 1.0
    """Passes over the examples."""
    max_steps: int | None = None
    """Number of steps; it overrides the epochs."""
    examples: int | None = None
    """Number of examples, drawn by `seed`; None for the benchmark's own number, which is usually all."""
    seed: int = 42
    """Seed of the examples drawn, their order and dropout."""
    lora_rank: int | None = None
    """Rank of LoRA; None for a full update of the plan's weights."""
    lora_alpha: float | None = None
    """Scale of LoRA, over its rank; None for twice the rank."""
    gradient_checkpointing: bool = False
    """Whether layers compute their activations twice to save memory."""
    save_every: int = 100
    """Steps between checkpoints."""
    log_every: int = 10
    """Steps between logged losses."""
    report_to: str = "none"
    """Trackers of transformers' Trainer, such as wandb or tensorboard."""
    prompt_date: str | None = None
    """Date (YYYY-MM-DD) in prompts of chat templates that write one; None for today."""

    i_have_permission: bool = False
    """Whether you may train on a set whose licence forbids it or does not say."""

    def __post_init__(self) -> None:
        if self.prompt_date is not None:
            chosen_date(self.prompt_date)
        for name in ("learning_rate", "batch_size", "accumulation", "epochs", "save_every", "log_every"):
            if not getattr(self, name) > 0:
                raise InputError(f"{argument(name)} is {getattr(self, name)}; it must be above 0")
        for name, value in (
            ("max_steps", self.max_steps),
            ("examples", self.examples),
            ("lora", self.lora_rank),
            ("lora_alpha", self.lora_alpha),
        ):
            if value is not None and not value > 0:
                raise InputError(f"{argument(name)} is {value}; it must be above 0")

    def record(self) -> dict[str, Any]:
        """What a resumed training must share; the date is compared with the prompts, where they show it."""
        settings = asdict(self)
        del settings["prompt_date"]
        if not self.i_have_permission:  # earlier versions did not know it
            del settings["i_have_permission"]
        return settings

    @property
    def alpha(self) -> float:
        """Scale of LoRA."""
        return self.lora_alpha if self.lora_alpha is not None else 2.0 * (self.lora_rank or 0)


class TrainOptions(LoadOptions, total=False):
    """Keyword arguments of `train`: the fields of `TrainSettings`, and how to load the model."""

    learning_rate: float
    batch_size: int
    accumulation: int
    epochs: float
    max_steps: int | None
    examples: int | None
    seed: int
    lora: int | None
    """`lora_rank`."""
    lora_alpha: float | None
    gradient_checkpointing: bool
    save_every: int
    log_every: int
    report_to: str
    prompt_date: str | None
    i_have_permission: bool


def split_options(options: TrainOptions) -> tuple[TrainSettings, LoadOptions]:
    """The settings of a training, and how to load its model; TypeError for an unknown option."""
    loading = {name: value for name, value in options.items() if name in LoadOptions.__annotations__}
    settings = {name: value for name, value in options.items() if name not in loading}
    if "lora" in settings:
        settings["lora_rank"] = settings.pop("lora")
    return TrainSettings(**settings), cast(LoadOptions, loading)  # type: ignore[arg-type]
