"""Sizes of the invented world and its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from culnig.errors import InputError

CULTURES = (
    *("China", "Indonesia", "Iran", "Mexico", "South Korea", "Spain", "UK", "USA"),
    *("Algeria", "Assam", "Azerbaijan", "Ethiopia", "Greece", "Nigeria", "North Korea", "West Java"),
)
"""Keys of real cultures, which every command knows; the facts about them are invented words."""
MIN_CULTURES = 3
"""z over cultures needs at least three (docs/method.md, Culture-specific neurons)."""


@dataclass(frozen=True)
class PlantedSettings:
    """Settings of a planted model; equal settings give the same model on the same machine."""

    seed: int = 0
    """Seed of facts, weights, planted sets and training."""
    cultures: int = 8
    """Number of cultures."""
    questions: int = 24
    """Questions to which every culture has its own answer, each in two wordings."""
    neurons_per_culture: int = 16
    """Planted neurons of each culture, and of the shared set."""
    layers: int = 4
    """Layers of the decoder."""
    mlp_width: int = 256
    """MLP neurons of each layer, of all its experts together."""
    experts: int = 1
    """Experts that each layer's MLP neurons are shared out to; 1 for an MLP that every token goes through."""

    def __post_init__(self) -> None:
        """InputError for an impossible size."""
        least = {
            "seed": 0,
            "cultures": MIN_CULTURES,
            "questions": 2,
            "neurons_per_culture": 1,
            "layers": 2,
            "mlp_width": 8,
            "experts": 1,
        }
        check_sizes(self, least)
        if self.mlp_width % self.experts:
            raise InputError(
                f"{self.experts} experts cannot have equal shares of {self.mlp_width} MLP neurons; give a "
                "multiple of the number of experts"
            )
        available = self.layers * self.mlp_width
        if self.n_planted > available // 2:
            raise InputError(
                f"{self.cultures} cultures and the shared set, {self.neurons_per_culture} neurons each, need "
                f"{self.n_planted:,} planted neurons; at most half of this model's {available:,} MLP neurons "
                f"can be planted, {available // 2:,}: plant fewer, or make the model larger"
            )

    @property
    def n_planted(self) -> int:
        """Planted neurons of all cultures and the shared set."""
        return (self.cultures + 1) * self.neurons_per_culture

    @property
    def culture_keys(self) -> tuple[str, ...]:
        """Keys of the cultures, in the order of their sets."""
        return CULTURES[: self.cultures]


@dataclass(frozen=True)
class RealSettings:
    """Settings of the real world; equal settings give the same model on the same machine."""

    seed: int = 0
    """Seed of training."""
    cultures: int = 6
    """Number of cultures."""
    questions: int = 16
    """Questions of the benchmark `everyday` whose answers are learned for each culture."""

    def __post_init__(self) -> None:
        """InputError for an impossible size."""
        check_sizes(self, {"seed": 0, "cultures": MIN_CULTURES, "questions": 2})

    @property
    def culture_keys(self) -> tuple[str, ...]:
        """Keys of the cultures."""
        return CULTURES[: self.cultures]


@dataclass(frozen=True)
class RowsSettings(RealSettings):
    """Settings of the real world with known neurons."""

    questions: int = 8
    """The same as in `RealSettings`; fewer, because few rows learn more slowly than all weights."""
    neurons_per_culture: int = 128
    """Neurons whose rows are trained for each culture, and for all together."""

    def __post_init__(self) -> None:
        """InputError for an impossible size."""
        super().__post_init__()
        check_sizes(self, {"neurons_per_culture": 1})


Settings = PlantedSettings | RealSettings


def check_sizes(settings: Settings, least: Mapping[str, int]) -> None:
    """InputError for a size below its least value, and for too many cultures."""
    for name, lowest in least.items():
        if (value := getattr(settings, name)) < lowest:
            why = ", which z over cultures needs" if name == "cultures" else ""
            raise InputError(f"{name.replace('_', ' ')} is {value}; give at least {lowest}{why}")
    if (cultures := settings.cultures) > len(CULTURES):
        raise InputError(f"{cultures} cultures are too many; give at most {len(CULTURES)}")
