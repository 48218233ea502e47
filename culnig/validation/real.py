"""The real world: the embedded model learns the everyday facts, in known neurons or in all of them.

`real-rows` trains only the rows of random MLP neurons, a set for each culture and one that all share, with
the sets switched on and off as in `training`: so the truth is known in a real language model, with real
words. With its own set or the shared one off, an item keeps the answer that the model gave before. `real`
trains all weights; which neurons then carry the facts is for the methods to find (`finding`).

What was learned is kept in the cache of models, by all that it was made from.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import torch

from culnig import registry
from culnig.core.neurons import MLP_GATE
from culnig.core.progress import Progress, Say, Task, no_progress, say_nothing
from culnig.inference.encoding import EncodedItem, Encoder
from culnig.models.base import BoundModel, bind_model
from culnig.models.cache import keep_learned, learned_folder, read_learned
from culnig.models.named import loaded_model
from culnig.provenance import items_hash
from culnig.validation import training
from culnig.validation.effects import accuracy_by_culture
from culnig.validation.learning import ENOUGH, RATE, Recall, learn, logits_at
from culnig.validation.planted import PlantedModel
from culnig.validation.planting import Membership, Switch, draw_membership, planted_sets
from culnig.validation.real_items import RealWorld, make_real_world
from culnig.validation.settings import PlantedSettings, RealSettings, RowsSettings
from culnig.validation.training import GOLD, Lessons, golds, lessons_of
from culnig.validation.world import FACTS

LEARNING = "learn the facts"
BATCH = 8
PASSES = 8
"""Most times that all facts are learned with all weights trainable."""
ROWS_PASSES, ROWS_RATE = 24, 5e-3
"""Times that they are learned, and the highest learning rate, with the rows of some neurons trainable."""
FORMAT = 1
"""Raised when learned weights of older versions must not be used any more."""


def learned_model(
    settings: RealSettings, progress: Progress = no_progress, say: Say = say_nothing
) -> PlantedModel:
    """The model that has learned the facts with all weights; no neurons are known."""
    bound, world, before = _base(settings)
    _from_cache(bound, world, settings, lambda: _learn(bound, world, settings.seed, progress, say))
    return PlantedModel(settings, bound, world, {}, before=before)


def rows_model(
    settings: RowsSettings, progress: Progress = no_progress, say: Say = say_nothing
) -> PlantedModel:
    """The model that has learned the facts in known rows."""
    bound, world, before = _base(settings)
    sizes = PlantedSettings(
        seed=settings.seed,
        cultures=settings.cultures,
        neurons_per_culture=settings.neurons_per_culture,
        layers=bound.layout.n_layers,
        mlp_width=bound.layout.segment(MLP_GATE, 0).width,
    )
    membership = draw_membership(sizes)

    def plant() -> None:
        recall = Recall(_n_facts(world), say)
        trainer = RowsTrainer(bound, world, membership, settings.seed, recall)
        n_steps = _n_steps(world, ROWS_PASSES)
        trainer.plant(n_steps, Task(progress, LEARNING, n_steps).advance)

    _from_cache(bound, world, settings, plant)
    sets = planted_sets(bound, membership, world.cultures, settings.seed)
    return PlantedModel(settings, bound, world, sets, before=before)


def load_base() -> BoundModel:
    """The model that learns."""
    return loaded_model("embedded")


def _base(settings: RealSettings) -> tuple[BoundModel, RealWorld, dict[str, float]]:
    """A model to change, which reads plain text; the facts; and which of them it knows already."""
    loaded = load_base()
    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.chat_template = None
    bound = bind_model(loaded.source, copy.deepcopy(loaded.model), tokenizer, registry.adapters())
    world = make_real_world(settings, tokenizer)
    return bound, world, accuracy_by_culture(bound, world.benchmarks[FACTS].items)


def _from_cache(
    bound: BoundModel, world: RealWorld, settings: RealSettings, learns: Callable[[], None]
) -> None:
    """Take the learned weights from the cache, or learn them and keep them."""
    key = {
        "format": FORMAT,
        "world": type(settings).__name__,
        "settings": asdict(settings),
        "constants": [
            BATCH,
            PASSES,
            RATE,
            ENOUGH,
            ROWS_PASSES,
            ROWS_RATE,
            GOLD,
            training.KNOWN,
            training.OWN_OFF,
        ],
        "model": bound.weights_hash,
        "items": items_hash(world.benchmarks[FACTS].items),
        "written": sorted(world.written.items()),
        "torch": torch.__version__,
    }
    folder = learned_folder(key)
    if folder is not None and read_learned(folder, bound.model):
        return
    learns()
    if folder is not None:
        keep_learned(folder, "facts of validate --world", bound.model, bound.tokenizer)


def _n_steps(world: RealWorld, passes: int) -> int:
    return max(1, passes * _n_facts(world) // BATCH)


def _n_facts(world: RealWorld) -> int:
    return len(world.benchmarks[FACTS].items) // 2  # each pass asks a fact in one of its wordings


def _learn(bound: BoundModel, world: RealWorld, seed: int, progress: Progress, say: Say) -> None:
    """Train all weights on the written answers."""
    encoded = Encoder(bound).encode_all(world.benchmarks[FACTS].items)
    sequences = [_sequence(item, world) for item in encoded]
    n_steps = _n_steps(world, PASSES)
    batches = _batches(world, torch.Generator().manual_seed(seed))
    recall = Recall(_n_facts(world), say)
    learn(bound.model, sequences, batches, n_steps, recall, Task(progress, LEARNING, n_steps).advance)


def _batches(world: RealWorld, generator: torch.Generator) -> Iterator[list[int]]:
    """Indices of items, BATCH at a time."""
    order: list[int] = []
    while True:
        while len(order) < BATCH:
            order += _one_wording(world, generator)
        yield order[:BATCH]
        order = order[BATCH:]


def _one_wording(world: RealWorld, generator: torch.Generator) -> list[int]:
    """Every fact once, in a random order and a random wording: indices of items."""
    items = world.benchmarks[FACTS].items
    by_fact: dict[tuple[str, str], list[int]] = {}
    for number, item in enumerate(items):
        by_fact.setdefault((item.question_id, item.culture), []).append(number)
    facts = list(by_fact.values())
    order = torch.randperm(len(facts), generator=generator).tolist()
    either = torch.rand(len(facts), generator=generator).tolist()
    return [facts[index][int(either[index] * len(facts[index]))] for index in order]


def _sequence(encoded: EncodedItem, world: RealWorld) -> tuple[list[int], int]:
    """Token ids of question and written answer, and where the answer begins."""
    start = encoded.token_ids
    return [*start, *world.written[encoded.item.id]], len(start)


class RowsTrainer(training.Trainer):
    """Trains the rows of known neurons; all random choices come from one generator."""

    rate = ROWS_RATE

    def __init__(
        self, bound: BoundModel, world: RealWorld, membership: Membership, seed: int, recall: Recall
    ) -> None:
        items = world.benchmarks[FACTS].items
        encoded = Encoder(bound).encode_all(items)
        self._model: Any = bound.model
        self._membership = torch.from_numpy(membership)
        self._switch = Switch(membership)
        self._n_sets = len(world.cultures) + 1
        self._generator = torch.Generator().manual_seed(seed)
        self._culture = torch.tensor([world.cultures.index(item.culture) for item in items])
        self._known = lessons_of(encoded, golds(encoded), GOLD, bound.n_embeddings)
        self._before = _as_answered(self._model, self._known)
        self._recall = recall

    def _planting_step(self) -> torch.Tensor:
        chosen = self._draw(len(self._known), BATCH)
        state = torch.rand(BATCH, 1, generator=self._generator)
        known, own_off = state < training.KNOWN, (state >= training.KNOWN) & (state < training.OWN_OFF)
        questions = self._known.take(chosen)
        target = torch.where(known, questions.target, self._before[chosen])
        other_sets = torch.tensor(training.OTHERS_ON)[self._draw(len(training.OTHERS_ON), BATCH)][:, None]
        own = torch.nn.functional.one_hot(self._culture[chosen], self._n_sets - 1).bool()
        on = torch.ones(BATCH, self._n_sets + 1)
        on[:, :-2] = torch.where(own, (1 - training.OWN_DROPPED) * ~own_off, other_sets)
        on[:, -2:-1] = (1 - training.SHARED_DROPPED) * (known | own_off)
        self._switch.set(on, self._generator)
        token_ids = questions.token_ids[:, : int(questions.last.max()) + 1]
        answers = logits_at(self._model, token_ids, torch.arange(BATCH), questions.last)
        self._recall.add((answers.detach().argmax(-1) == target.argmax(-1))[known[:, 0]])
        return training.soft_loss(answers, target)


def _as_answered(model: Any, lessons: Lessons) -> torch.Tensor:
    """The model's own distributions at the answer position, (item, vocabulary)."""
    rows = []
    with torch.inference_mode():
        for start in range(0, len(lessons), BATCH):
            own = lessons.take(torch.arange(start, min(start + BATCH, len(lessons))))
            logits = logits_at(model, own.token_ids, torch.arange(len(own)), own.last)
            rows.append(logits.softmax(-1))
    return torch.cat(rows).clone()
