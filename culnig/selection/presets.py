"""Presets: the paper's settings and neuron counts (data/published_selection.toml), and what finds most.

What finds most neurons that are known to be a culture's is measured by `validate` (docs/validation.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from culnig.core.data_files import own_data, read_toml
from culnig.core.neurons import Layout
from culnig.selection.general import GeneralSettings
from culnig.selection.specific import SpecificSettings


@dataclass(frozen=True)
class PublishedModel:
    """A model that the paper reports on."""

    name: str
    n_general: int | None
    """Number of culture-general neurons reported for it; None if unknown."""


@dataclass(frozen=True)
class Preset:
    """The paper's settings for both selections, and the published model with these pools."""

    general: GeneralSettings
    specific: SpecificSettings
    model: PublishedModel | None
    """The paper's model with pools of the same sizes, or None."""


def paper_preset(layout: Layout) -> Preset:
    """The paper's settings, with its counts for the model of this layout."""
    document = read_toml(own_data("published_selection.toml"))
    sizes = [len(layout.pool(pool)) for pool in ("mlp", "attention")]
    return Preset(
        GeneralSettings(**document["general"]),
        SpecificSettings(**document["specific"]),
        next(
            (
                PublishedModel(model["name"], model.get("general"))
                for model in document["models"]
                if [model["mlp"], model["attention"]] == sizes
            ),
            None,
        ),
    )


BEST_SCORERS = ("relp-log-odds", "relp")
"""Scorers that find more of a culture's own neurons than gradient × activation, the best first."""
BEST = SpecificSettings(rank_by="shrunken-z", shrink=0.5)


def best_preset(stored: Sequence[str]) -> tuple[str | None, SpecificSettings]:
    """The scorer to rank by, of those that a run has sums of (None: the default), and the settings."""
    return next((name for name in BEST_SCORERS if name in stored), None), BEST
