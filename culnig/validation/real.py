"""The real world: the embedded model learns the everyday facts, in known neurons or in all of them.

`real-rows` trains only the rows of random MLP neurons, a set for each culture and one that all share, with
the sets switched on and off as in `training`: so the truth is known in a real language model, with real
words. With its own set or the shared one off, an item keeps the answer that the model gave before. `real`
trains all weights; which neurons then carry the facts is for the methods to find (`finding`).

What was learned is kept in the cache of models, by all that it was made from.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from culnig import registry
from culnig.core.neurons import MLP_GATE
from culnig.core.progress import Progress, Task, no_progress
from culnig.inference.encoding import EncodedItem, Encoder
from culnig.models.base import BoundModel, bind_model
from culnig.models.cache import keep_learned, learned_folder, read_learned
from culnig.models.named import loaded_model
from culnig.provenance import items_hash
from culnig.validation import training
from culnig.validation.effects import accuracy_by_culture
from culnig.validation.planted import PlantedModel
from culnig.validation.planting import Membership, Switch, draw_membership, planted_sets
from culnig.validation.real_items import RealWorld, make_real_world
from culnig.validation.settings import PlantedSettings, RealSettings, RowsSettings
from culnig.validation.training import GOLD, Lessons, golds, lessons_of
from culnig.validation.world import FACTS

LEARNING = "learn the facts"
BATCH = 16
PASSES, RATE = 6, 3e-4
"""Times that all facts are learned, and the highest learning rate, with all weights trainable."""
ROWS_PASSES, ROWS_RATE = 12, 1e-2
"""The same with the rows of some neurons trainable."""
FORMAT = 1
"""Raised when learned weights of older versions must not be used any more."""


def learned_model(settings: RealSettings, progress: Progress = no_progress) -> PlantedModel:
    """The model that has learned the facts with all weights; no neurons are known."""
    bound, world, before = _base(settings)
    _from_cache(bound, world, settings, lambda: _learn(bound, world, settings.seed, progress))
    return PlantedModel(settings, bound, world, {}, before=before)


def rows_model(settings: RowsSettings, progress: Progress = no_progress) -> PlantedModel:
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

    def learn() -> None:
        trainer = RowsTrainer(bound, world, membership, settings.seed)
        n_steps = _n_steps(world, ROWS_PASSES)
        trainer.plant(n_steps, Task(progress, LEARNING, n_steps).advance)

    _from_cache(bound, world, settings, learn)
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
    bound: BoundModel, world: RealWorld, settings: RealSettings, learn: Callable[[], None]
) -> None:
    """Take the learned weights from the cache, or learn them and keep them."""
    key = {
        "format": FORMAT,
        "world": type(settings).__name__,
        "settings": asdict(settings),
        "constants": [BATCH, PASSES, RATE, ROWS_PASSES, ROWS_RATE, GOLD, training.KNOWN, training.OWN_OFF],
        "model": bound.weights_hash,
        "items": items_hash(world.benchmarks[FACTS].items),
        "written": sorted(world.written.items()),
        "torch": torch.__version__,
    }
    folder = learned_folder(key)
    if folder is not None and read_learned(folder, bound.model):
        return
    learn()
    if folder is not None:
        keep_learned(folder, "facts of validate --world", bound.model, bound.tokenizer)


def _n_steps(world: RealWorld, passes: int) -> int:
    n_facts = len(world.benchmarks[FACTS].items) // 2  # each pass asks a fact in one of its wordings
    return max(1, passes * n_facts // BATCH)


def _learn(bound: BoundModel, world: RealWorld, seed: int, progress: Progress) -> None:
    """Train all weights on the written answers."""
    model: Any = bound.model
    encoded = Encoder(bound).encode_all(world.benchmarks[FACTS].items)
    sequences = [_sequence(item, world) for item in encoded]
    n_steps = _n_steps(world, PASSES)
    task = Task(progress, LEARNING, n_steps)
    generator = torch.Generator().manual_seed(seed)
    model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    order: list[int] = []
    for step in range(n_steps):
        while len(order) < BATCH:
            order += _one_wording(world, generator)
        batch, order = order[:BATCH], order[BATCH:]
        warm_up, descent = (1 + step) / 10, (n_steps - step) / (0.5 * n_steps)
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, warm_up, descent)
        optimizer.zero_grad()
        _written_loss(model, [sequences[number] for number in batch]).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        task.advance()
    model.zero_grad()


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


def _written_loss(model: Any, sequences: list[tuple[list[int], int]]) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens."""
    longest = max(len(ids) for ids, _ in sequences)
    ids = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids, _ in sequences])
    logits = model(input_ids=ids, use_cache=False).logits
    positions = [
        (row, position) for row, (own, start) in enumerate(sequences) for position in range(start, len(own))
    ]
    rows, columns = torch.tensor(positions).T
    return torch.nn.functional.cross_entropy(logits[rows, columns - 1].float(), ids[rows, columns])


class RowsTrainer(training.Trainer):
    """Trains the rows of known neurons; all random choices come from one generator."""

    rate = ROWS_RATE

    def __init__(self, bound: BoundModel, world: RealWorld, membership: Membership, seed: int) -> None:
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
        return self._loss(Lessons(questions.token_ids, questions.last, target))


def _as_answered(model: Any, lessons: Lessons) -> torch.Tensor:
    """The model's own distributions at the answer position, (item, vocabulary)."""
    rows = []
    with torch.inference_mode():
        for start in range(0, len(lessons), BATCH):
            own = lessons.take(torch.arange(start, min(start + BATCH, len(lessons))))
            logits = model(input_ids=own.token_ids, use_cache=False).logits
            rows.append(logits[torch.arange(len(own)), own.last].float().softmax(-1))
    return torch.cat(rows).clone()
