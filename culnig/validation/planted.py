"""The planted model: a decoder with known neurons for each culture's facts, and items about the facts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from culnig import registry
from culnig.core.neurons import Layout
from culnig.models.base import BoundModel, bind_model
from culnig.selection.neuron_set import NeuronSet
from culnig.validation.planting import SHARED, Membership, draw_membership, planted_sets
from culnig.validation.settings import PlantedSettings
from culnig.validation.world import World, make_world

Progress = Callable[[str, int], None]
"""Called with the name of a stage and the number of steps just completed."""

BASE, PLANTING = "train the base", "plant the facts"


@dataclass(frozen=True)
class PlantedModel:
    """A trained decoder whose culture neurons are known."""

    settings: PlantedSettings
    bound: BoundModel
    """Shared by all callers with these settings: mask it, but do not change its weights (see `fresh`)."""
    world: World
    """Facts, and items by benchmark and split."""
    membership: Membership
    """Set of each MLP neuron, shape (layer, neuron)."""
    sets: dict[str, NeuronSet]
    """Planted neurons by culture; those that all cultures need under `SHARED`."""

    @property
    def shared(self) -> NeuronSet:
        """The planted set that all cultures need."""
        return self.sets[SHARED]

    def flat(self, layout: Layout | None = None) -> NDArray[np.int64]:
        """Flat indices of all planted neurons, ascending."""
        layout = layout or self.bound.layout
        return np.sort(np.concatenate([chosen.flat(layout) for chosen in self.sets.values()]))

    def fresh(self) -> BoundModel:
        """A bound copy of the model whose weights may be changed."""
        return bind_model(
            self.bound.source, copy.deepcopy(self.bound.model), self.bound.tokenizer, registry.adapters()
        )

    def write_model(self, folder: Path) -> None:
        """Save model and tokenizer to a folder that can be loaded as a model."""
        from transformers.utils import logging

        was_enabled = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            self.bound.model.save_pretrained(folder)
            self.bound.tokenizer.save_pretrained(folder)
        finally:
            if was_enabled:
                logging.enable_progress_bar()  # type: ignore[no-untyped-call]


_made: dict[PlantedSettings, PlantedModel] = {}


def planted_model(
    settings: PlantedSettings | None = None, progress: Progress = lambda stage, steps: None
) -> PlantedModel:
    """Train a planted model, about half a minute for the default size; once per process and settings."""
    settings = settings or PlantedSettings()
    if settings not in _made:
        _made[settings] = _train(settings, progress)
    return _made[settings]


def _train(settings: PlantedSettings, progress: Progress) -> PlantedModel:
    from culnig.validation import training
    from culnig.validation.decoder import build_decoder

    world = make_world(settings)
    bound = build_decoder(settings, world)
    membership = draw_membership(settings)
    trainer = training.Trainer(bound, world, membership, settings.seed)
    trainer.train_base(training.BASE_STEPS, lambda steps: progress(BASE, steps))
    trainer.plant(training.planting_steps(settings), lambda steps: progress(PLANTING, steps))
    sets = planted_sets(bound, membership, world.cultures, settings.seed)
    return PlantedModel(settings, bound, world, membership, sets)
