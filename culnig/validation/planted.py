"""The planted model: a decoder with known neurons for each culture's facts, and items about the facts."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from culnig import registry
from culnig.core.progress import Progress, Task, no_progress
from culnig.models.base import BoundModel, bind_model
from culnig.selection.neuron_set import NeuronSet
from culnig.validation.judging import Truth
from culnig.validation.planting import SHARED, draw_membership, planted_sets
from culnig.validation.settings import PlantedSettings, Settings
from culnig.validation.world import World, make_world

BASE, PLANTING = "train the base", "plant the facts"
"""The stages of training, as progress names them."""


@dataclass(frozen=True)
class PlantedModel:
    """A trained decoder whose culture neurons are known."""

    settings: Settings
    bound: BoundModel
    """Shared by all callers with these settings: mask it, but do not change its weights (see `fresh`)."""
    world: World
    """Facts, and items by benchmark and split."""
    sets: dict[str, NeuronSet]
    """Planted neurons by culture; those that all cultures need under `SHARED`."""
    decoys: dict[str, NeuronSet] = field(default_factory=dict)
    """Planted neurons that carry no culture's knowledge, by what they do."""
    taught: frozenset[str] | None = None
    """Ids of the facts that the model should know; None for all."""
    before: dict[str, float] | None = None
    """Share of each culture's facts that the model knew before it learned them; None if it knew nothing."""

    @property
    def shared(self) -> NeuronSet:
        """The planted set that all cultures need."""
        return self.sets[SHARED]

    def flat(self) -> NDArray[np.int64]:
        """Flat indices of all planted neurons, ascending."""
        layout = self.bound.layout
        if not self.sets:
            return np.empty(0, dtype=np.int64)
        return np.unique(np.concatenate([chosen.flat(layout) for chosen in self.sets.values()]))

    @property
    def truth(self) -> Truth | None:
        """What a method has to find; None where no neurons are known."""
        if not self.sets:
            return None
        layout, cultures = self.bound.layout, self.world.cultures
        return Truth(self.flat(), {culture: self.sets[culture].flat(layout) for culture in cultures})

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


def planted_model(settings: PlantedSettings | None = None, progress: Progress = no_progress) -> PlantedModel:
    """The invented world, trained once per process and settings; about half a minute at the default size."""
    settings = settings or PlantedSettings()
    if settings not in _made:
        _made[settings] = _trained(settings, progress)
    return _made[settings]


def _trained(settings: PlantedSettings, progress: Progress) -> PlantedModel:
    from culnig.validation import training
    from culnig.validation.decoder import build_decoder

    world = make_world(settings)
    bound = build_decoder(settings, world.words)
    membership = draw_membership(settings)
    trainer = training.Trainer(bound, world, membership, settings.seed)
    steps = {BASE: training.BASE_STEPS, PLANTING: training.planting_steps(settings)}
    tasks = {stage: Task(progress, stage, n_steps) for stage, n_steps in steps.items()}
    trainer.train_base(steps[BASE], tasks[BASE].advance)
    trainer.plant(steps[PLANTING], tasks[PLANTING].advance)
    sets = planted_sets(bound, membership, world.cultures, settings.seed)
    return PlantedModel(settings, bound, world, sets)
