"""The paper's settings and neuron counts (data/published_selection.toml), to compare a selection with."""

from __future__ import annotations

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
