"""How a model is fine-tuned: the paper's settings, each of which can be changed."""

from __future__ import annotations

from dataclasses import dataclass

from culnig.errors import InputError


@dataclass(frozen=True)
class TrainSettings:
    """What decides a training beside model, plan and task. Defaults are the paper's (METHOD §6)."""

    learning_rate: float = 3e-5
    """Of AdamW without decay; it stays constant."""
    batch_size: int = 4
    """Examples of one forward pass, on each device."""
    accumulation: int = 4
    """Forward passes of one step."""
    epochs: float = 1.0
    """Passes over the examples."""
    max_steps: int | None = None
    """Steps, whatever the epochs."""
    examples: int | None = None
    """Examples drawn by `seed`; None for the benchmark's own number, which mostly is all."""
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

    def __post_init__(self) -> None:
        for name in ("learning_rate", "batch_size", "accumulation", "epochs", "save_every", "log_every"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name.replace('_', ' ')} is {getattr(self, name)}; it must be above 0")
        for name in ("max_steps", "examples", "lora_rank", "lora_alpha"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name.replace('_', ' ')} is {value}; it must be above 0")

    @property
    def alpha(self) -> float:
        """Scale of LoRA."""
        return self.lora_alpha if self.lora_alpha is not None else 2.0 * (self.lora_rank or 0)
