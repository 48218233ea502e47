"""Sizes of the invented world and its model."""

from __future__ import annotations

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
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                why = ", which z over cultures needs" if name == "cultures" else ""
                raise InputError(
                    f"{name.replace('_', ' ')} is {getattr(self, name)}; give at least {lowest}{why}"
                )
        if self.cultures > len(CULTURES):
            raise InputError(f"{self.cultures} cultures are too many; give at most {len(CULTURES)}")
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
