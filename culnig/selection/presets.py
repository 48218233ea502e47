"""The paper's own settings and figures (data/published_selection.toml), to hold a selection against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from culnig.core.data_files import own_data, read_toml
from culnig.core.neurons import Layout
from culnig.selection.general import GeneralSettings
from culnig.selection.specific import SpecificSettings


@dataclass(frozen=True)
class PublishedModel:
    """A model of the paper."""

    name: str
    n_general: int | None
    """Culture-general neurons reported for it, or None where we know of no figure."""


@dataclass(frozen=True)
class Preset:
    """Settings of both selections, and what was published about a model with these pools."""

    general: GeneralSettings
    specific: SpecificSettings
    model: PublishedModel | None
    """The paper's model whose pools are as large as this layout's, or None."""


def paper_preset(layout: Layout) -> Preset:
    """The paper's settings, with its figures for the model of this layout."""
    document = read_toml(own_data("published_selection.toml"))
    sizes = {pool: len(layout.pool(pool)) for pool in ("mlp", "attention")}
    return Preset(
        GeneralSettings(**document["general"]),
        SpecificSettings(**document["specific"]),
        next(
            (
                PublishedModel(model["name"], model.get("general"))
                for model in document["models"]
                if _pools(model) == sizes
            ),
            None,
        ),
    )


def _pools(model: dict[str, Any]) -> dict[str, int]:
    return {pool: model[pool] for pool in ("mlp", "attention")}
