"""Training in two stages: a base without the cultures' facts, then the facts into the planted neurons.

1. **Base**, planted neurons switched off: general facts, naming the culture of a passage, and for a culture's
   question the general answer as a guess (half of the probability, the rest spread over the answers), so that
   a model without the planted neurons knows which culture is meant but not what it answers.
2. **Planting**, everything frozen but the planted rows (see `planting`). All cultures are learned together,
   in random states of the sets, which is the penalty on cross-talk: with its own set and the shared one on,
   an item's answer is the culture's; with one of these off, it is the guess of the base.
   Of other cultures' neurons a random share is on, so that none of them can help or be needed.

What makes planted neurons the ones that matter, and not only the ones that were trained: single neurons are
dropped at random, planted ones so that a fact is spread over its set, others so that no fact hangs on them.
What keeps them from being conspicuous: a planted row is never longer than the average row beside it.
Answers are learned to 90 %, not to certainty: the gradient of a saturated probability is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from culnig.inference.encoding import EncodedItem, Encoder
from culnig.models.base import BoundModel
from culnig.validation.planting import Membership, PlantedRows, Switch, planted_rows
from culnig.validation.settings import PlantedSettings
from culnig.validation.world import ANSWERS, CONTROL, FACTS, GENERAL_FACTS, NAMING, World

if TYPE_CHECKING:
    from torch import nn

GOLD = 0.9
"""Probability that a known answer is trained to."""
GUESS = 0.5
"""Probability of the general answer where a culture's own is not known."""

BASE_STEPS = 200
PLANTING_STEPS = 700
"""For the facts of FACTS_AT_ONCE; more facts take proportionally more steps."""
FACTS_AT_ONCE = 192
BASE_RATE = 2e-3
PLANTING_RATE = 1e-2
BATCH = 96
REPLAY = 8
"""General facts, and as many passages, in each planting step: what the base knew is kept."""

BASE_DROPPED = 0.3
"""Share of neurons dropped in a step of the base."""
OWN_DROPPED = 0.08
"""Share of the planted neurons of an item's own culture dropped in a planting step."""
SHARED_DROPPED = 0.05
"""The same of the shared set."""
OTHERS_ON = (0.0, 0.5, 1.0)
"""Share of the other cultures' planted neurons that is on; one is drawn per item."""
UNPLANTED_DROPPED = 0.25
"""Share of the neurons that are not planted dropped in a planting step."""

KNOWN, OWN_OFF = 0.45, 0.80
"""A uniform number below KNOWN: the answer is learned; below OWN_OFF: own set off; above: shared set off."""

Progress = Callable[[int], None]
"""Called with the number of steps just made."""


def planting_steps(settings: PlantedSettings) -> int:
    """Steps of the second stage."""
    return PLANTING_STEPS * max(FACTS_AT_ONCE, settings.cultures * settings.questions) // FACTS_AT_ONCE


@dataclass(frozen=True)
class Lessons:
    """Prompts with the distribution that the next token should have."""

    token_ids: torch.Tensor
    """Padded on the right, shape (item, token)."""
    last: torch.Tensor
    """Place of the last real token, shape (item,)."""
    wanted: torch.Tensor
    """Distribution over the vocabulary, shape (item, vocabulary)."""

    def __len__(self) -> int:
        return len(self.last)

    def take(self, rows: torch.Tensor) -> Lessons:
        """Some of the lessons."""
        return Lessons(self.token_ids[rows], self.last[rows], self.wanted[rows])


@dataclass(frozen=True)
class Curriculum:
    """All lessons of a world."""

    known: Lessons
    """A culture's questions with its own answers."""
    guessed: Lessons
    """The same questions with the guess of a model that does not know."""
    culture: torch.Tensor
    """Set of the culture of each of these questions, shape (item,)."""
    control: Lessons
    general: Lessons
    naming: Lessons


def make_curriculum(bound: BoundModel, world: World) -> Curriculum:
    """Encode the items as scoring does, and say what the answers should be."""
    encoder = Encoder(bound)
    encoded = {name: encoder.encode_all(those.items) for name, those in world.benchmarks.items()}
    width = len(bound.tokenizer)
    facts = encoded[FACTS]
    general = {item.item.question_id: item.option_ids.index(item.gold_id) for item in encoded[GENERAL_FACTS]}
    guesses = [general[item.item.question_id] for item in facts]
    evenly = 1 / len(ANSWERS)
    return Curriculum(
        known=_lessons(facts, _golds(facts), GOLD, width),
        guessed=_lessons(facts, guesses, GUESS, width),
        culture=torch.tensor([world.cultures.index(item.item.culture) for item in facts]),
        control=_lessons(encoded[CONTROL], _golds(encoded[CONTROL]), evenly, width),
        general=_lessons(encoded[GENERAL_FACTS], _golds(encoded[GENERAL_FACTS]), GOLD, width),
        naming=_lessons(encoded[NAMING], _golds(encoded[NAMING]), GOLD, width),
    )


def _golds(items: Sequence[EncodedItem]) -> list[int]:
    return [item.option_ids.index(item.gold_id) for item in items]


def _lessons(items: Sequence[EncodedItem], chosen: Sequence[int], share: float, width: int) -> Lessons:
    """`share` for the chosen option of each item, the rest evenly for its others."""
    longest = max(len(item.token_ids) for item in items)
    wanted = torch.zeros(len(items), width)
    for row, (item, place) in enumerate(zip(items, chosen, strict=True)):
        wanted[row, list(item.option_ids)] = (1 - share) / (len(item.option_ids) - 1)
        wanted[row, item.option_ids[place]] = share
    padded = [[*item.token_ids, *[0] * (longest - len(item.token_ids))] for item in items]
    last = torch.tensor([len(item.token_ids) - 1 for item in items])
    return Lessons(torch.tensor(padded), last, wanted)


def _together(*lessons: Lessons) -> Lessons:
    longest = max(some.token_ids.shape[1] for some in lessons)
    padded = [
        torch.nn.functional.pad(some.token_ids, (0, longest - some.token_ids.shape[1])) for some in lessons
    ]
    return Lessons(
        torch.cat(padded),
        torch.cat([some.last for some in lessons]),
        torch.cat([some.wanted for some in lessons]),
    )


class Trainer:
    """Trains one decoder; every random choice comes from one generator."""

    def __init__(self, bound: BoundModel, world: World, membership: Membership, seed: int) -> None:
        self._model: Any = bound.model
        self._lessons = make_curriculum(bound, world)
        self._membership = torch.from_numpy(membership)
        self._switch = Switch(membership)
        self._n_sets = len(world.cultures) + 1
        self._generator = torch.Generator().manual_seed(seed)

    def train_base(self, n_steps: int, progress: Progress) -> None:
        """Stage 1: all weights, planted neurons off."""
        self._train(list(self._model.parameters()), self._base_step, n_steps, BASE_RATE, progress)

    def plant(self, n_steps: int, progress: Progress) -> None:
        """Stage 2: only the planted rows."""
        rows = planted_rows(self._model, self._membership)
        hooks = [row.weight.register_hook(row.masked) for row in rows]  # type: ignore[no-untyped-call]
        self._model.requires_grad_(False)
        weights = [row.weight for row in rows]
        for weight in weights:
            weight.requires_grad_(True)
        try:
            self._train(weights, self._planting_step, n_steps, PLANTING_RATE, progress, rows)
        finally:
            for hook in hooks:
                hook.remove()
            self._model.requires_grad_(True)
            self._model.zero_grad()

    def _base_step(self) -> torch.Tensor:
        lessons = self._lessons
        batch = _together(
            self._some(lessons.guessed, BATCH // 2),
            self._some(lessons.general, BATCH // 3),
            self._some(lessons.naming, BATCH // 2),
            self._some(lessons.control, 2),
        )
        on = torch.zeros(len(batch), self._n_sets + 1)
        on[:, -1] = 1 - BASE_DROPPED
        self._switch.set(on, self._generator)
        return self._loss(batch)

    def _planting_step(self) -> torch.Tensor:
        lessons = self._lessons
        chosen = self._draw(len(lessons.known), BATCH)
        state = torch.rand(BATCH, 1, generator=self._generator)
        known, own_off = state < KNOWN, (state >= KNOWN) & (state < OWN_OFF)
        questions = lessons.known.take(chosen)
        wanted = torch.where(known, questions.wanted, lessons.guessed.wanted[chosen])
        replay = [self._some(some, REPLAY) for some in (lessons.general, lessons.naming)]
        batch = _together(Lessons(questions.token_ids, questions.last, wanted), *replay)

        on = torch.full((len(batch), self._n_sets + 1), 1 - OWN_DROPPED)  # general facts, passages: all sets
        own = torch.nn.functional.one_hot(lessons.culture[chosen], self._n_sets - 1).bool()
        others = torch.tensor(OTHERS_ON)[self._draw(len(OTHERS_ON), BATCH)][:, None]
        on[:BATCH, :-2] = torch.where(own, (1 - OWN_DROPPED) * ~own_off, others)
        on[:BATCH, -2:-1] = (1 - SHARED_DROPPED) * (known | own_off)
        on[:, -1] = 1 - UNPLANTED_DROPPED
        self._switch.set(on, self._generator)
        return self._loss(batch)

    def _train(
        self,
        weights: list[nn.Parameter],
        step: Callable[[], torch.Tensor],
        n_steps: int,
        rate: float,
        progress: Progress,
        limited: Sequence[PlantedRows] = (),
    ) -> None:
        """Adam without decay (a weight whose gradient is zero stays as it is), warm-up, linear descent."""
        optimizer = torch.optim.Adam(weights, lr=rate)
        done = np.arange(n_steps)
        warm_up, descent = (1 + done) / 30, (n_steps - done) / (0.4 * n_steps)
        schedule = np.clip(np.minimum(warm_up, np.maximum(0.05, descent)), 0, 1)
        with self._switch.on(self._model.model.layers):
            for factor in schedule:
                optimizer.param_groups[0]["lr"] = rate * float(factor)
                optimizer.zero_grad()
                step().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                for rows in limited:
                    rows.limit()
                progress(1)

    def _loss(self, lessons: Lessons) -> torch.Tensor:
        """Mean cross-entropy at the last real token."""
        logits = self._model(input_ids=lessons.token_ids, use_cache=False).logits
        answers = logits[torch.arange(len(lessons)), lessons.last]
        loss: torch.Tensor = -(lessons.wanted * answers.log_softmax(-1)).sum(-1).mean()
        return loss

    def _some(self, lessons: Lessons, number: int) -> Lessons:
        return lessons.take(self._draw(len(lessons), number))

    def _draw(self, n_lessons: int, number: int) -> torch.Tensor:
        return torch.randint(n_lessons, (number,), generator=self._generator)
